"""Compact storage of weights, one file a format; NumPy only. Byte-exact specifications: docs/formats/.

>>> import numpy as np
>>> weight = np.array([[0, 2, 0, 0], [0, 0, 3, 0]], np.float32)
>>> packed = pack(weight, weight != 0, format="unstructured", dtype="float32")
>>> nbytes(packed)
10
>>> values, mask = unpack(packed)
>>> values
array([[0., 2., 0., 0.],
       [0., 0., 3., 0.]], dtype=float32)
>>> for_pattern("gs:8,1")
('gather_scatter', {'banks': 8, 'per_row': 1})
"""

from gossamer.formats.codec import FORMATS, entries, for_pattern, nbytes, pack, pack_kept, unpack, validate
from gossamer.formats.matrix import Format, Kept, PackedMatrix

__all__ = [
    "FORMATS",
    "Format",
    "Kept",
    "PackedMatrix",
    "pack",
    "pack_kept",
    "unpack",
    "entries",
    "validate",
    "nbytes",
    "for_pattern",
]
