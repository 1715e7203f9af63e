"""Which blocks of a backbone fine-tuning trains, counted from the input."""

from __future__ import annotations

from dataclasses import dataclass

from kerastl.errors import ConfigError
from kerastl.option_values import THIRDS


@dataclass(frozen=True)
class TunedBlocks:
    """Neighbouring blocks of a backbone, those that fine-tuning trains.

    Attributes:
        first: The lowest of them, counted from the input, from 1.
        last: The highest.
        num_blocks: All that the backbone has, see `kerastl.models.blocks`.

    Example:
        >>> TunedBlocks(9, 17, 17).words, TunedBlocks(5, 8, 17).words
        ('the top 9 of 17 blocks', 'blocks 5 to 8 of 17')
    """

    first: int
    last: int
    num_blocks: int

    @property
    def count(self) -> int:
        """How many they are."""
        return self.last - self.first + 1

    @property
    def words(self) -> str:
        """What they are, for a sentence."""
        if self.count == self.num_blocks:
            return f"all {self.num_blocks} blocks" if self.num_blocks > 1 else "the only block"
        if self.last == self.num_blocks:
            return f"the top {self.count} of {self.num_blocks} blocks"
        if self.count == 1:
            return f"block {self.first} of {self.num_blocks}"
        return f"blocks {self.first} to {self.last} of {self.num_blocks}"

    @property
    def option(self) -> str:
        """What to type after --tune."""
        return str(self.first) if self.count == 1 else f"{self.first}-{self.last}"

    def resized(self, count: int) -> TunedBlocks:
        """Return more or fewer blocks in the same part of the backbone.

        The first ones stay the first ones, the top ones the top ones, others keep their place.

        Args:
            count: How many, from 1 to `num_blocks`.

        Example:
            >>> [TunedBlocks(*ends, 17).resized(3).option for ends in [(1, 6), (7, 11), (12, 17)]]
            ['1-3', '8-10', '15-17']
        """
        room = self.num_blocks - self.count
        place = (self.first - 1) / room if room else 1.0
        first = 1 + round(place * (self.num_blocks - count))
        return TunedBlocks(first, first + count - 1, self.num_blocks)


def top_blocks(count: int, *, num_blocks: int) -> TunedBlocks:
    """Return the blocks nearest to the output.

    Args:
        count: How many, from 1.
        num_blocks: All that there are.
    """
    return TunedBlocks(num_blocks - count + 1, num_blocks, num_blocks)


def named_blocks(tune: str, *, num_blocks: int, of: str) -> TunedBlocks:
    """Return the blocks that `--tune` names.

    Surgical fine-tuning (Lee et al. 2023, arXiv:2210.11466): for a shift of the input the first
    blocks can be the ones to train, for others the middle ones. There the head is trained only
    where it is what is chosen; here always, because it is new.

    Args:
        tune: As `kerastl.option_values.parse_tune` gives it. Of two blocks the middle is both.
        num_blocks: Blocks of the backbone.
        of: Its name, for messages.

    Raises:
        ConfigError: The backbone has not so many.

    Example:
        >>> [named_blocks(one, num_blocks=17, of="net").option for one in THIRDS]
        ['1-6', '7-11', '12-17']
        >>> named_blocks("5-8", num_blocks=17, of="net").words
        'blocks 5 to 8 of 17'
    """
    if tune in THIRDS:
        one, two = round(num_blocks / 3), round(2 * num_blocks / 3)
        ends = {
            "first": (1, max(one, 1)),
            "middle": (min(one + 1, two), max(one + 1, two)),
            "last": (min(two + 1, num_blocks), num_blocks),
        }
        return TunedBlocks(*ends[tune], num_blocks)
    first, _, last = tune.partition("-")
    found = TunedBlocks(int(first), int(last or first), num_blocks)
    if not 1 <= found.first <= found.last <= num_blocks:
        raise ConfigError(
            f"`tune` must name blocks of {of}, 1 to {num_blocks} counted from the input; received "
            f"tune={tune!r}. Write for example first, {num_blocks} or 1-{num_blocks}."
        )
    return found
