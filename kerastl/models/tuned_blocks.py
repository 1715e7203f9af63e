"""Which blocks of a backbone fine-tuning trains, counted from the input."""

from __future__ import annotations

from dataclasses import dataclass


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
