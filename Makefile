# SPDX-License-Identifier: MIT
#
# A front door to meson and the scripts. `make help` lists what there is.

BUILD := build
DESTDIR :=
PREFIX :=
TIME := 60
BENCH :=

all:
	@scripts/setup build
	@test -e $(BUILD)/build.ninja || meson setup $(BUILD)
	@ninja -C $(BUILD)

help:
	@echo 'make            build the program ($(BUILD)/vblk) and the library'
	@echo 'make demo       boot Linux guests on vblk disks and let them check the disks'
	@echo 'make check      all tests: several compilers and sanitizers, real guests'
	@echo 'make lint       static checks'
	@echo 'make format     format the C sources'
	@echo 'make coverage   line coverage of the unit tests'
	@echo 'make rules      which test proves which rule of the device'
	@echo 'make fuzz       the fuzzers, for TIME seconds (60)'
	@echo 'make soak       the stress program, for TIME seconds (60)'
	@echo 'make bench      benchmarks: vblk, its peers and the file itself; BENCH=--quick is short'
	@echo 'make install    install; PREFIX (/usr/local) and DESTDIR are honoured'
	@echo 'make clean      remove the build directories'

demo: all
	@scripts/setup demo
	@scripts/demo $(BUILD)/vblk

check:
	@scripts/setup check
	@scripts/check

lint:
	@scripts/setup lint
	@scripts/lint

format:
	@scripts/setup lint
	@scripts/format

coverage:
	@scripts/setup coverage
	@scripts/coverage

rules:
	@scripts/rules

fuzz:
	@scripts/setup check
	@scripts/fuzz $(TIME)

soak:
	@scripts/setup check
	@scripts/soak $(TIME)

bench: all
	@scripts/setup bench || echo 'bench: it goes without'
	@status=0; \
	$(BUILD)/bench/throttle || status=1; \
	scripts/bench-instructions --top 20 $(BUILD)/bench/requests || status=1; \
	scripts/bench --build $(BUILD) $(BENCH) || status=1; \
	exit $$status

install: all
	@test -z '$(PREFIX)' || meson configure $(BUILD) -Dprefix='$(PREFIX)'
	@DESTDIR='$(DESTDIR)' meson install -C $(BUILD)

clean:
	rm -rf $(BUILD) build-*

.PHONY: all help demo check lint format coverage rules fuzz soak bench \
	install clean
