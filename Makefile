# UniDesk: builds everything, runs everything; each folder has the rules for
# its own.  `make help` lists the targets.

# Libraries before their users; each lies in build/$(VARIANT)/NAME.
PROGRAMS := common placement init bridge agent/git agent bench/agents
PG_CONFIG ?= pg_config
PREFIX    ?= /usr
VARIANT   ?= release
export VARIANT PG_CONFIG DEVELOPER V

OUT       := build/$(VARIANT)
# A recipe has to say $(MAKE) itself, or -j does not reach what it calls.
QUIET      = $(if $(filter 1,$(V)),,-s) --no-print-directory

all: programs extension

programs: $(PROGRAMS)
$(filter-out common,$(PROGRAMS)): common
$(PROGRAMS) extension:
	@$(MAKE) $(QUIET) -C $@

help:
	@echo 'make               build everything (DEVELOPER=1: warnings are errors, V=1: show commands)'
	@echo 'make check         all tests; ends with the number passed and failed'
	@echo 'make check-quick   those without an engine, within 90 s'
	@echo 'make check-SUITE  one suite: check-units, check-regress, check-path, ...;  check-system: those with an engine'
	@echo 'make check-clean   the README on a bare Debian, in a file system and network of its own; as root'
	@echo 'make asan          unit tests built with the address and undefined-behaviour sanitizers'
	@echo 'make lint          static analysis of C and shell'
	@echo 'make indent        bring C into layout;  make indent-check  only look'
	@echo 'make demo          the platform on this machine and one real task;  make demo-down  remove it'
	@echo 'make backup        a backup now, proven by a restore;  make restore FILE=...  put one in the place of the database'
	@echo 'make install       programs and extension below PREFIX ($(PREFIX)), DESTDIR honoured'
	@echo 'make packages      install the Debian packages that building and testing needs'
	@echo 'make clean         remove build/'

# ---- tests -----------------------------------------------------------------

packages:
	@tools/packages.sh check

# tools/check.sh says what each is; make check-SUITE runs one.
QUICK_SUITES  := exports units regress isolation
SYSTEM_SUITES := \
	websocket \
	config \
	restore \
	path \
	lease \
	identity \
	limits \
	container \
	node \
	fleet \
	replace \
	restarts \
	drill \
	git \
	dockerfile \
	canary \
	volume \
	pg17 \
	demo

check: packages
	+@tools/check.sh build $(QUICK_SUITES) tap cost $(SYSTEM_SUITES)

check-quick: packages
	+@tools/check.sh build $(QUICK_SUITES)

check-system: packages
	+@tools/check.sh build $(SYSTEM_SUITES)

# README's commands on a bare Debian; RELEASE=trixie for the other one.
check-clean:
	@tools/check_clean.sh $(RELEASE)

CHECK_SUITES := $(addprefix check-,$(QUICK_SUITES) tap cost $(SYSTEM_SUITES))
$(CHECK_SUITES): check-%:
	+@tools/check.sh build $*

# What tools/check.sh calls: every folder's own unit tests, also after one fails.
units: programs
	@failed=0; for folder in $(PROGRAMS); do \
	    $(MAKE) $(QUIET) -C $$folder check || failed=1; done; exit $$failed

# Inside a container there is no sanitizer's library: there init is the usual one.
asan:
	@$(MAKE) $(QUIET) -C init VARIANT=release
	@UNIDESK_INIT=$(CURDIR)/build/release/init/unidesk-init \
	    LSAN_OPTIONS=suppressions=$(CURDIR)/tools/lsan.supp:print_suppressions=0 \
	    $(MAKE) $(QUIET) VARIANT=asan units

# ---- habits ----------------------------------------------------------------

lint:
	@tools/lint.sh

indent:
	@tools/indent.sh

indent-check:
	@tools/indent.sh --check

# ---- use -------------------------------------------------------------------

demo:
	@tools/demo.sh

demo-down:
	@tools/demo_down.sh

backup:
	@tools/backup.sh

restore:
	@tools/restore.sh "$(FILE)"

install: all
	install -D $(OUT)/bridge/unidesk-bridge $(DESTDIR)$(PREFIX)/bin/unidesk-bridge
	install -D $(OUT)/agent/unidesk-agent $(DESTDIR)$(PREFIX)/bin/unidesk-agent
	install -D $(OUT)/git/unidesk-git $(DESTDIR)$(PREFIX)/lib/unidesk/unidesk-git
	install -D $(OUT)/init/unidesk-init $(DESTDIR)$(PREFIX)/lib/unidesk/unidesk-init
	@$(MAKE) $(QUIET) -C extension install DESTDIR=$(DESTDIR)

clean:
	rm -rf build

.PHONY: all programs $(PROGRAMS) extension help packages check check-quick check-system check-clean $(CHECK_SUITES) \
        units asan lint indent indent-check demo demo-down backup restore install clean
