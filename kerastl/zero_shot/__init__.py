"""Labels in words instead of training: networks with a tower for images and one for texts.

In a notebook:

    from kerastl.zero_shot.answers import zero_shot_predictor
    from kerastl.zero_shot.labels import labels_from_text
    from kerastl.zero_shot.two_towers import load_towers

    towers = load_towers("clip_vit_base_patch32")
    predictor = zero_shot_predictor(towers, labels_from_text("cat,dog"))
    predictor.predict([Path("photo.jpg").read_bytes()])
"""
