# Two commands for a newcomer: `make demo` and `make check`. Both do all the set-up.
BUILD := build
JOBS  := $(shell nproc)

.PHONY: help demo check release dev asan tsan setup format tidy bench install clean

help:
	@echo "make demo     set up, build, run the whole pipeline on a synthetic world (demo-out/report.html)"
	@echo "make check    set up, build with warnings as errors, run every test with sanitizers"
	@echo "make release  build/release/bin/mirrorer"
	@echo "make dev      debug build and its tests      make tsan    thread sanitizer build and tests"
	@echo "make bench    benchmarks (bench/README.md)   make install PREFIX=/usr/local"
	@echo "make format   clang-format                   make tidy    clang-tidy"

setup:
	@tools/setup.sh

release: setup
	@cmake --preset release -DUM_TESTS=OFF >$(BUILD)-release.log 2>&1 || { cat $(BUILD)-release.log; exit 1; }
	@rm -f $(BUILD)-release.log
	@cmake --build --preset release -j $(JOBS) -- --quiet

demo: release
	@$(BUILD)/release/bin/mirrorer demo --out demo-out

dev asan tsan: setup
	cmake --preset $@
	cmake --build --preset $@ -j $(JOBS)
	ctest --preset $@

check: setup
	tools/check.sh

format:
	git ls-files '*.c' '*.h' | xargs clang-format -i

tidy: setup
	cmake --preset dev
	git ls-files 'src/*.c' | xargs clang-tidy -p $(BUILD)/dev --quiet

bench:
	@tools/setup.sh bench
	cmake --preset release -DUM_BENCH=ON
	cmake --build --preset release -j $(JOBS)
	bench/run.sh

install: release
	cmake --install $(BUILD)/release --prefix $(or $(PREFIX),/usr/local)

clean:
	rm -rf $(BUILD) demo-out
