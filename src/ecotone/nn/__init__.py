"""Building blocks: patches, positions, attention, masking."""
