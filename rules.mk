# Shared rules for every C program and library outside extension/.
#
# A folder's Makefile sets NAME and one of PROGRAM or LIBRARY, optionally PKGS
# (pkg-config names), USES (sibling library folders to link), EXCLUDE (sources
# not part of it), then includes this file.  tests/check_*.c are Check unit
# tests, each linked with everything but main.o.  Objects live in
# build/$(VARIANT)/$(NAME), so that variants never meet.

TOP     := $(abspath $(dir $(lastword $(MAKEFILE_LIST))))
VARIANT ?= release
OUT     := $(TOP)/build/$(VARIANT)
BUILD   := $(OUT)/$(NAME)
V       ?= 0
Q       := $(if $(filter 1,$(V)),,@)

# The warning switched off is wrong about code the sanitizer has changed.
SAN_asan := -O1 -fsanitize=address,undefined -fno-omit-frame-pointer -Wno-format-truncation
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition \
        -Wpointer-arith -Wwrite-strings -Wvla -Wformat=2 $(if $(DEVELOPER),-Werror)
CFLAGS  ?= -O2 -g
ALL_CFLAGS = -std=gnu17 -D_GNU_SOURCE -fstack-protector-strong $(WARN) $(CFLAGS) $(SAN_$(VARIANT)) \
             -MMD -MP -I$(TOP) $(if $(PKGS),$(shell pkg-config --cflags $(PKGS)))
PKG_LIBS = $(if $(PKGS),$(shell pkg-config --libs $(PKGS)))

SRCS    := $(filter-out $(EXCLUDE),$(wildcard *.c)) $(BORROWED)
OBJS    := $(SRCS:%.c=$(BUILD)/%.o)
LIBS    := $(foreach u,$(USES),$(OUT)/$(u)/lib$(u).a)
TESTS   := $(patsubst tests/%.c,$(BUILD)/%,$(wildcard tests/check_*.c))

all: $(if $(PROGRAM),$(BUILD)/$(PROGRAM)) $(if $(LIBRARY),$(BUILD)/lib$(NAME).a)

$(BUILD)/%.o: %.c | $(BUILD)
	@echo "  CC    $(NAME)/$<"
	$(Q)$(CC) $(ALL_CFLAGS) $(EXTRA_CFLAGS) -c -o $@ $<

$(BUILD)/lib$(NAME).a: $(OBJS)
	@echo "  AR    $(NAME)"
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/$(PROGRAM): $(OBJS) $(LIBS)
	@echo "  LINK  $(PROGRAM)"
	$(Q)$(CC) $(ALL_CFLAGS) $(EXTRA_LDFLAGS) -o $@ $(OBJS) $(LIBS) $(PKG_LIBS) $(EXTRA_LIBS)

$(BUILD)/check_%: tests/check_%.c $(filter-out $(BUILD)/main.o,$(OBJS)) $(LIBS) | $(BUILD)
	@echo "  TEST  $(NAME)/$(@F)"
	$(Q)$(CC) $(ALL_CFLAGS) $(shell pkg-config --cflags check) -o $@ $(filter-out %.h,$^) \
	    $(PKG_LIBS) $(EXTRA_LIBS) $(shell pkg-config --libs check)

$(LIBS): FORCE
	$(Q)$(MAKE) --no-print-directory -C $(TOP)/$(basename $(patsubst lib%,%,$(@F)))

$(BUILD):
	@mkdir -p $@

# One line per test program is Check's own summary; every program is run.
check: all $(TESTS)
	$(Q)$(TOP)/tools/run_units.sh $(NAME) $(TESTS)

clean:
	rm -rf $(BUILD)

FORCE:
.PHONY: all check clean FORCE
.DELETE_ON_ERROR:

-include $(wildcard $(BUILD)/*.d)
