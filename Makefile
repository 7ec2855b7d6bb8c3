# SPDX-License-Identifier: GPL-2.0
# fastsocket.ko as an external module. `make help` lists the targets.

# The kernel to build for: KDIR= or KVER=, else the running one's headers, else
# the newest that are installed (a build machine or container).
KVER ?= $(shell r=$$(uname -r); if [ -e /lib/modules/$$r/build ]; then echo $$r; else \
	for d in /lib/modules/*/build; do [ -e $$d/Makefile ] && basename $${d%/build}; done | \
	grep -vE -- '-(rt|dbg)' | sort -V | tail -n 1; fi)
KDIR ?= /lib/modules/$(KVER)/build
KMAKE = $(MAKE) -C $(KDIR) M=$(CURDIR)

all: modules tools

modules:
	@test -e "$(KDIR)/Makefile" || { echo "No kernel headers at '$(KDIR)': install linux-headers for your kernel (Debian: apt-get install linux-headers-amd64) or give KDIR=" >&2; exit 1; }
	$(KMAKE) modules

tools:
	$(MAKE) -C tools

modules_install: modules
	$(KMAKE) modules_install

clean:
	@if [ -e "$(KDIR)/Makefile" ]; then $(KMAKE) clean; fi
	$(MAKE) -C tools clean

# Warnings of gcc, sparse and kernel-doc are errors here. Builds in a copy.
lint-build:
	@d=$$(mktemp -d) && cp -r Kbuild $(filter-out %.mod.c,$(wildcard *.c)) include $$d && \
	$(MAKE) -C $(KDIR) M=$$d W=1 C=2 KCFLAGS=-Werror modules > $$d/log 2>&1; rc=$$?; \
	cat $$d/log; if grep -qE '(warning|error):' $$d/log; then rc=1; fi; rm -rf $$d; exit $$rc

check:
	tests/run

demo:
	tests/demo

help:
	@echo 'make                  build fastsocket.ko and the tools'
	@echo 'make modules_install  install the module for that kernel'
	@echo 'make demo             see what it does: nginx in a virtual machine, without and with it'
	@echo 'make check            all tests (installs what it needs, boots kernels in QEMU)'
	@echo 'make lint-build       build with W=1 and sparse; warnings are errors'
	@echo 'make clean'
	@echo 'KVER=version or KDIR=directory choose the kernel (now: $(KDIR))'

.PHONY: all modules tools modules_install clean lint-build check demo help
