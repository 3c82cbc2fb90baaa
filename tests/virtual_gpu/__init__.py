"""A GPU of NVIDIA's without one: kernels as Triton compiles them, run an instruction at a time.

Triton's interpreter runs a kernel's Python. This runs its PTX, which is what a GPU's driver is
given: the tensor cores' fragments, the copies that run ahead, and the barriers between threads are
those that the compiler wrote. Memory tells of races, of reads and writes out of bounds, and of what
is read before it is written, as compute-sanitizer does. What it does not tell is time.

``HANDGRAPH_VIRTUAL_GPU=90 pytest tests/nn/kernels`` runs the kernels' tests so, for compute
capability 9.0. It knows the instructions that these kernels take on 8.0 to 9.0 and 12.0.
"""
