"""Builds the packet dissector where there is a C compiler; without one the same file is interpreted."""

import os

from Cython.Build import cythonize
from setuptools import Extension, setup

extensions = cythonize(
    [Extension(f"podtracer_nb.packets.{name}", [f"podtracer_nb/packets/{name}.py"]) for name in ("_dissect", "_ring")],
    build_dir="build",
)
for extension in extensions:
    extension.optional = True  # cythonize drops it from the extension it was given
    # Debug information would be most of the wheel.
    extension.extra_compile_args = [] if os.name == "nt" else ["-O3", "-g0"]

setup(ext_modules=extensions)
