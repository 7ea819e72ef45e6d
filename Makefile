# Every target does all its set-up: virtual environment, torch, packages, native library. `make help` lists them.
#
#   VENV=.venv  PYTHON=python3.11  PIP_ARGS="..."  JOBS=2  WHEELHOUSE=wheelhouse   can be given on the command line
#   A stamp file in the virtual environment says that a stage of its set-up is done with the present pyproject.toml.

VENV     ?= .venv
PYTHON   ?= $(shell command -v python3.11 || command -v python3)
JOBS     ?= $(shell nproc 2>/dev/null || echo 2)
TORCH    ?= $(shell grep '^torch==' constraints.txt)
PIP_ARGS ?=

export GOSSAMER_REQUIRE_NATIVE := 1
export PATH := $(abspath $(VENV))/bin:$(PATH)

PY     := $(abspath $(VENV))/bin/python
PIP     = $(PY) -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt
STAMPS := $(VENV)/stamps
NATIVE := build/native
WHEELHOUSE ?= wheelhouse
SUFFIX  = $(shell $(PY) -c 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup native native-tests native-tests-arm demo test test-slow check format sanitize wheel bench clean distclean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */\1\t/' | expand -t 18

# ---------------------------------------------------------------------------------------------------------------- set-up
$(STAMPS)/venv:
	@test -n "$(PYTHON)" || { echo "make: no python3.11 on PATH; give PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "make: $(PYTHON) is older than Python 3.11; give PYTHON=/path/to/python3.11" >&2; exit 1; }
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@mkdir -p $(STAMPS) && touch $@

# torch comes first and alone: the exact version selects the CPU build, any other request may pull gigabytes of CUDA.
$(STAMPS)/torch: constraints.txt | $(STAMPS)/venv
	@echo "installing $(TORCH)"
	@$(PIP) $(TORCH)
	@touch $@

$(STAMPS)/packages: pyproject.toml constraints.txt $(STAMPS)/torch
	@echo "installing the packages of constraints.txt (a few minutes the first time)"
	@$(PY) scripts/requirements.py dev > $(STAMPS)/requirements.txt
	@$(PIP) -r $(STAMPS)/requirements.txt
	@touch $@

# The package itself, editable: only its path and its console script; the library is built below, into src/gossamer.
$(STAMPS)/install: pyproject.toml src/gossamer/_version.py $(STAMPS)/packages
	@$(PIP) --no-deps --no-build-isolation -C editable.mode=inplace -C wheel.cmake=false -C wheel.py-api=py3 -e .
	@touch $@

setup: $(STAMPS)/install native  ## virtual environment with everything, native library

# ---------------------------------------------------------------------------------------------------------------- native
$(NATIVE)/build.ninja: | $(STAMPS)/packages
	@cmake -S . -B $(NATIVE) -G Ninja -DGOSSAMER_TESTS=ON -DPython_EXECUTABLE=$(PY) --log-level=WARNING

native: $(NATIVE)/build.ninja  ## build the extension into src/gossamer
	@cmake --build $(NATIVE) -j $(JOBS) --target _native -- --quiet
	@for file in $(NATIVE)/_native*.so; do if test -e $$file && ! cmp -s $$file src/gossamer/$${file##*/}; then \
	  cp $$file src/gossamer/.new.so && mv src/gossamer/.new.so src/gossamer/$${file##*/}; fi; done

native-tests: $(NATIVE)/build.ninja  ## build and run the native tests, also on an emulated CPU without AVX
	@cmake --build $(NATIVE) -j $(JOBS) --target native_tests -- --quiet
	@ctest --test-dir $(NATIVE) --output-on-failure -j $(JOBS) --no-tests=ignore

# Needs g++-aarch64-linux-gnu and qemu-user. The executor's tests fork, which user-mode emulation cannot do with threads.
native-tests-arm: $(STAMPS)/packages  ## build for AArch64 with the cross compiler, run kernel and network tests under qemu-aarch64
	@cmake -S . -B build/arm -G Ninja -DGOSSAMER_TESTS=ON -DGOSSAMER_PYTHON=OFF --log-level=WARNING \
	  -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
	  -DCMAKE_C_COMPILER=aarch64-linux-gnu-gcc -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ \
	  "-DCMAKE_CROSSCOMPILING_EMULATOR=qemu-aarch64;-L;/usr/aarch64-linux-gnu"
	@cmake --build build/arm -j $(JOBS) --target native_tests -- --quiet
	ctest --test-dir build/arm --output-on-failure -j $(JOBS) --no-tests=ignore

# ----------------------------------------------------------------------------------------------------------------- tests
PYTEST = $(PY) -m pytest -n 2 --dist loadgroup

test: setup native-tests  ## all tests that are not marked slow
	OMP_NUM_THREADS=1 $(PYTEST)

test-slow: setup  ## the slow ones: two ranks, resume after SIGKILL, clean environments, every recipe, the demo
	$(PY) -m pytest -m slow --durations=10

NATIVE_SOURCES = native/*.cpp native/*.h native/*/*.cpp native/*/*.h native/*/*.c

check: setup  ## format, lint, types, import contracts, examples in docstrings and docs
	ruff format --check
	clang-format --dry-run --Werror $(NATIVE_SOURCES)
	ruff check
	mypy
	lint-imports
	OMP_NUM_THREADS=1 $(PYTEST) --doctest-modules src scripts/requirements.py tests/docs

format:  ## put the code into its format, mend what can be mended
	ruff format
	clang-format -i $(NATIVE_SOURCES)
	ruff check --fix

SANITIZE = cmake -S . -G Ninja -DGOSSAMER_TESTS=ON -DGOSSAMER_PYTHON=OFF --log-level=WARNING

sanitize: setup  ## native tests under Address-, UndefinedBehavior- and ThreadSanitizer, 20,000 mutated files under the first two
	@$(SANITIZE) -B build/sanitize -DGOSSAMER_SANITIZE=address,undefined
	@cmake --build build/sanitize -j $(JOBS) --target native_tests -- --quiet
	ctest --test-dir build/sanitize --output-on-failure -j $(JOBS) --no-tests=ignore
	$(PY) scripts/fuzz.py --driver build/sanitize/fuzz_reader
	@$(SANITIZE) -B build/sanitize-thread -DGOSSAMER_SANITIZE=thread
	@cmake --build build/sanitize-thread -j $(JOBS) --target test_capi test_executor test_random -- --quiet
	ctest --test-dir build/sanitize-thread --output-on-failure -j $(JOBS) -R 'test_(capi|executor|random)$$'

# ------------------------------------------------------------------------------------------------------------- the rest
wheel: setup  ## wheel with all instruction sets, repaired with auditwheel, in wheelhouse/
	rm -rf build/wheel && mkdir -p build/wheel
	$(PY) -m build --wheel --no-isolation --outdir build/wheel
	auditwheel repair --wheel-dir $(WHEELHOUSE) build/wheel/*.whl
	@ls -l $(WHEELHOUSE)

demo: setup  ## train dense and 90 % sparse on Fashion-MNIST, pack, measure, write build/demo/report.html
	$(PY) benchmarks/demo.py --out build/demo

bench: setup  ## measure everything that docs/performance.md quotes (25 minutes, a quiet machine), make its tables anew
	$(PY) -m benchmarks.all

clean:  ## what was built (not the virtual environment)
	rm -rf build $(WHEELHOUSE) dist src/gossamer/_native*.so

distclean: clean  ## and the virtual environment
	rm -rf $(VENV)
