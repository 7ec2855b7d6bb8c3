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

# Warnings of gcc and sparse are errors here. Of sparse everything (endianness,
# address spaces, RCU, lock balance, ...) but what the kernel's own headers and macros
# do. What it says of files of the kernel, absolute paths or ./, does not count, nor do
# constants that gcc has accepted: sparse cannot evaluate MODULE_INFO() of 7.x, and
# its releases do not know __typeof_unqual__, without which 7.x does not run it.
SPARSE = -D__CHECK_ENDIAN__ -Wsparse-all -Wno-decl -Wno-pedantic -Wno-pointer-arith \
	-Wno-sizeof-bool -Wno-flexible-array-sizeof -Wno-flexible-array-nested \
	-Wno-constexpr-not-const -Wno-declaration-after-statement -D__typeof_unqual__=__typeof__
SPARSE_NOISE = ^\.?/[^ ]*: warning:|: note: in included file|: error: bad constant expression

# Builds in a copy.
lint-build:
	@test -e "$(KDIR)/Makefile" || { echo "no kernel headers at '$(KDIR)'" >&2; exit 1; }
	@d=$$(mktemp -d) && cp -r Kbuild $(filter-out %.mod.c,$(wildcard *.c)) include $$d && \
	$(MAKE) -j $$(nproc) -k -C $(KDIR) M=$$d W=1 C=2 CF='$(SPARSE)' KCFLAGS=-Werror modules > $$d/all 2>&1; rc=$$?; \
	sed "s,^$$d/,," $$d/all | grep -vE '$(SPARSE_NOISE)' > $$d/log; cat $$d/log; \
	if grep -qE '^[^./][^ ]*:.*(warning|error):|sparse is not available' $$d/log; then rc=1; fi; rm -rf $$d; exit $$rc

# All that can be said of the sources without running them; G= only these gates
style:
	tests/style $(G)

# The stock lane's kernels, NAME or NAME:SUITE,SUITE...; tests/kernel/stock tells which names there are.
# One test by its name runs on the first only, if nothing is said.
KERNELS ?= 6.1 6.12 7.x:10,31,50,52,70
RUN = tests/run $(addprefix -k ,$(KERNELS))
ONE = tests/run $(addprefix -k ,$(if $(filter file,$(origin KERNELS)),$(firstword $(KERNELS)),$(KERNELS)))

check:
	$(RUN)

check-stock:
	$(RUN) -l stock

check-debug:
	tests/run -l debug

check-kcsan:
	tests/run -l kcsan

# The packages, from make deb to purge, on a Debian 12 in a directory
check-packages:
	tests/setup packages
	bats $(if $(T),-f "$(T)") tests/packages.bats

# What each kernel has passed in the last run, into its page.
docs-kernels:
	tests/kernels-table --insert tests/out/kernels.md docs/kernels.md

# Does the documentation say what the sources say?
docs:
	tests/docs

# docs/figures/*.svg, from the sources beside them
figures:
	tests/setup figures
	tests/docs --draw

# Can the tests fail? M= only mutants with such a name
check-mutants:
	tests/mutants $(if $(M),"$(M)")

# T= a suite, its number, or part of a test's name; L= the lane
check-one:
	@test -n "$(T)" || { echo 'make check-one T=suite or name [L=stock|debug|kcsan]' >&2; exit 2; }
	$(ONE) -l $(or $(L),stock) $(if $(wildcard tests/suites*/$(T)*.bats)$(filter kunit host harness,$(T)),"$(T)",-f "$(T)")

demo:
	tests/demo

# Debian packages, into DEB=
DEB ?= out/deb
deb:
	packaging/build-deb $(DEB)

# In a virtual machine; bench/run without --vm measures this machine. B= more options of bench/run
bench:
	bench/run --vm $(B)

# Not in check: bench/run itself, from options to figures
check-bench:
	bats --tap tests/bench.bats tests/bench-vm.bats

help:
	@echo 'make                  build fastsocket.ko and the tools'
	@echo 'make modules_install  install the module for that kernel'
	@echo 'make deb              Debian packages of the module (DKMS), the tools and the header, in $(DEB)'
	@echo 'make demo             see what it does: nginx in a virtual machine, without and with it'
	@echo 'make bench            measure it beside SO_REUSEPORT and BPF, in a virtual machine; B=options, see bench/README.md'
	@echo 'make check            all tests (installs what it needs, boots kernels in QEMU)'
	@echo 'make check-stock      the part of it on the distributions'"'"' kernels'
	@echo '                      both: KERNELS="6.12 7.x:10,20", other kernels, or some suites on one'
	@echo 'make check-debug      the part on a kernel with debugging, which it builds'
	@echo 'make check-kcsan      not in check: a kernel that finds data races'
	@echo 'make check-mutants    not in check: breaks the module in many places and sees that the tests notice'
	@echo 'make check-packages   not in check: builds, installs, upgrades and purges the Debian packages'
	@echo 'make check-bench      not in check: bench/run from end to end'
	@echo 'make check-one T=name a suite or tests of that name; L=debug for that lane'
	@echo 'make docs-kernels     the last run'"'"'s table of kernels into docs/kernels.md'
	@echo 'make docs             whether the documentation says what the sources say'
	@echo 'make figures          draws the figures of the documentation'
	@echo 'make style            the style gates: warnings, sparse, checkpatch, coccinelle, formatting, ...'
	@echo 'make lint-build       of these only the build with W=1 and sparse; warnings are errors'
	@echo 'make clean'
	@echo 'KVER=version or KDIR=directory choose the kernel (now: $(KDIR))'

.PHONY: all modules tools modules_install clean lint-build style check check-stock check-debug check-kcsan check-mutants check-packages check-one docs-kernels docs figures demo bench check-bench deb help
