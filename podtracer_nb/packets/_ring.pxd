# What the compiled build of _ring.py takes from C.
from libc.string cimport memcpy
