/*
 * check_dockerfile.c
 *	  What a Dockerfile may build upon.
 */
#include "agent/git/dockerfile.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/buf.h"
#include "common/reasons.h"

static const char *const allowed[] = {
	"FROM debian:trixie\n",
	"from debian\nrun true\n",
	"FROM scratch\nCOPY . /\n",
	"FROM unidesk-base/debian:trixie\n",
	"FROM unidesk\nFROM someone/unidesk:1\nFROM xunidesk/agent\n",
	"FROM not-unidesk-cache/x\nFROM unidesk-cache-x/y\nFROM unidesk-cache2\n",
	"# comment\n\nARG V=trixie\nFROM debian:${V}\n",
	"ARG R\nFROM ${R}debian\n",
	"ARG A=deb\nARG B=${A}ian\nFROM $B:12\n",
	"ARG A=\"debian\" B='12'\nFROM $A:$B\n",
	"FROM ${X:-debian}\n",
	"ARG X=1\nFROM debian${X:+-slim}\n",
	"FROM --platform=$BUILDPLATFORM golang:1 AS build\nFROM debian:$TARGETARCH\nCOPY --from=build /a /b\n",
	"FROM debian AS base\nFROM base\nFROM base AS dead\nFROM dead\nCOPY --from=dead /a /b\nCOPY --from=0 /a /b\n",
	"FROM debian \\\n  AS build\nCOPY --from=build a b\n",
	"FROM cafe:1\nFROM library/cafe\nFROM deadbeefcafe:latest\n",
	"FROM debian@sha256:0123456789012345678901234567890123456789012345678901234567890123\n",
	"FROM debian\nRUN psql -c \"SELECT 'a' \\\n  FROM cafe b WHERE x = $1\"\n",
	"FROM debian\nRUN python -c \"\\\nfrom a import b\\\n\"\n",
	"FROM debian\nCOPY unidesk-cache/file /x\nRUN echo --from=dead\n",
	"FROM debian\nRUN --mount=type=cache,target=/root/.cache pip install x\n",
	"FROM debian AS b\nFROM debian\nRUN --mount=type=bind,from=b,target=/b true\n",
	"FROM debian\nARG X=unidesk-cache/x\nRUN echo $X\n",
	"FROM debian\n# FROM unidesk-cache/x\n#syntax = later, and only a comment\n",
	"# escape=`\nFROM debian\nCOPY a C:`\n x\n",
	"\xef\xbb\xbf" "FROM debian\r\nRUN true\r\n",
	"# nothing but comments",
};

static const char *const refused[] = {
	/* Our namespace, however it is spelled. */
	"FROM unidesk-cache/x\n",
	"FROM unidesk-cache/x:1 AS y\n",
	"from\tUNIDESK-CACHE/x\n",
	"FROM docker.io/unidesk-cache/x\n",
	"FROM index.docker.io/unidesk-cache/x@sha256:00\n",
	"FROM localhost/unidesk-cache/x\n",
	"FROM localhost:5000/unidesk-cache/x\n",
	"FROM unidesk-cache\n",
	"FROM unidesk/agent\n",
	"FROM docker.io/UniDesk/postgres:17\n",
	"FROM debian\nCOPY --from=unidesk/bridge / /\n",
	"FROM \"unidesk-cache/x\"\n",
	"FROM unidesk\\-cache/x\n",
	"FROM unidesk-cac'he'/x\n",
	"FROM --platform=linux/amd64 unidesk-cache/x\n",
	"FROM --platform=\"a b\" unidesk-cache/x\n",
	"FROM debian\nFROM unidesk-cache/x\n",
	"  FROM debian\n\tFROM unidesk-cache/x\n",
	"FROM debian\n\xc2\xa0" "FROM\xe3\x80\x80unidesk-cache/x\n",
	"FROM \\\n\n# c\n  unidesk-cache/x\n",
	"FROM uni\\\ndesk-cache/x\n",
	"FROM debian\nFR\\\nOM unidesk-cache/x\n",
	"# escape=`\nFROM uni`\ndesk-cache/x\n",
	"FROM debian\nONBUILD COPY --from=unidesk-cache/x / /\n",
	/* By variables. */
	"ARG X=unidesk-cache/x\nFROM $X\n",
	"ARG X=unidesk\nFROM ${X}-cache/x\n",
	"ARG X=unidesk-\nARG Y=${X}cache/x\nFROM ${Y}\n",
	"FROM ${X:-unidesk-cache/x}\n",
	"ARG X=1\nFROM ${X:+unidesk-cache/x}\n",
	"FROM unidesk${TARGETVARIANT}-cache/x\n",
	"FROM $X\n",
	"FROM ${X}debian\n",
	"ARG X=a\nFROM ${X#a}\n",
	"ARG X=a\nFROM ${X:-${Y}}\n",
	"FROM ${X\n",
	"FROM debian\nARG X=debian\nFROM $X\n",
	"ARG X=debian\nARG X=unidesk-cache/x\nFROM $X\n",
	/* A second reading of the ARG lines must not be possible. */
	"ARG X=unidesk-cache/x\nARG Y=\"1 X=debian\"\nFROM $X\n",
	"ARG X=unidesk-cache/x\nARG Y=1\\ X=debian\nFROM $X\n",
	"ARG X=unidesk-cache/x\nARG Y=\"\\\nARG X=debian\"\nFROM $X\n",
	"ARG Y=\"\\\nFROM debian\"\nARG X=unidesk-cache/x\nFROM $X\n",
	"RUN true\nFROM debian\n",
	"FR\\\nOM debian\n",
	/* Image ids. */
	"FROM sha256:0123456789012345678901234567890123456789012345678901234567890123\n",
	"FROM SHA256:01\n",
	"FROM 0123456789ab\n",
	"FROM 0123456789012345678901234567890123456789012345678901234567890123\n",
	"FROM a\n",
	"FROM 0\n",
	"FROM Cafe AS x\n",
	"FROM --platform=\"a b\" cafe\n",
	"ARG X=ca\nFROM ${X}fe\n",
	"FROM ${X:-}\n",
	/* A stage that only a wrong reading sees does not make an id a stage. */
	"FROM debian\nRUN x \\\nFROM debian AS dead\nFROM dead\n",
	"FROM debian\nRUN <<E\nFROM debian AS dead\nE\nFROM dead\n",
	"FROM debian\nRUN x \\\\\nFROM unidesk-cache/x\n",
	"FROM debian\nRUN x \\\\\nFROM \\\nunidesk-cache/x\n",
	"FROM debian\nRUN <<'E\\'\nx\nE\\\nFROM unidesk-cache/x\n",
	"FROM debian\nRUN x \\\n# c \\\nFROM cafe\n",
	/* Copies. */
	"FROM debian\nCOPY --from=unidesk-cache/x /a /b\n",
	"FROM debian\nCOPY --chown=1:1 --from=unidesk-cache/x /a /b\n",
	"FROM debian\nCOPY --from=\"unidesk-cache/x\" /a /b\n",
	"FROM debian\nCOPY --fr\\om=unidesk-cache/x /a /b\n",
	"FROM debian\nCOPY --fr\\\nom=unidesk-cache/x /a /b\n",
	"FROM debian\nCOPY --from=sha256:01 /a /b\n",
	"FROM debian\nCOPY --from=01234567890123456789 /a /b\n",
	"FROM debian\nCOPY --from=cafe /a /b\n",
	"FROM debian\nCOPY --from=$X /a /b\n",
	"FROM debian\nADD --from=unidesk-cache/x /a /b\n",
	"FROM debian\nRUN --mount=type=bind,from=unidesk-cache/x,target=/x true\n",
	"FROM debian\nRUN --mount=type=bind,\"from=cafe\" true\n",
	"FROM debian\nRUN --network=none --mount=From=sha256:1 true\n",
	/* Remote frontends. */
	"# syntax=docker/dockerfile:1\nFROM debian\n",
	"#SYNTAX = docker/dockerfile\nFROM debian\n",
	"# escape=\\\n# syntax=docker/dockerfile:1\nFROM debian\n",
	"// syntax=docker/dockerfile:1\nFROM debian\n",
	"#!/bin/x\n#syntax=x\nFROM debian\n",
};

START_TEST(is_allowed)
{
	UdError		err = {0};
	int			rc = dockerfile_check(allowed[_i], strlen(allowed[_i]), &err);

	ck_assert_msg(rc == 0, "refused with \"%s\":\n%s", err.message, allowed[_i]);
}

END_TEST

START_TEST(is_refused)
{
	UdError		err = {0};
	int			rc = dockerfile_check(refused[_i], strlen(refused[_i]), &err);

	ck_assert_msg(rc != 0, "allowed:\n%s", refused[_i]);
	ck_assert_int_eq(err.reason, UD_REASON_PREP_FROM_REFUSED);
	ck_assert_uint_gt(strlen(err.message), 0);
}

END_TEST

START_TEST(nul_bytes)
{
	UdError		err = {0};

	ck_assert_int_ne(dockerfile_check("FROM debian\0x", 13, &err), 0);
}

END_TEST

/* A megabyte made to be slow. */
START_TEST(bounded_work)
{
	static const char *const lines[] = {"\\\n", "RUN \\\n", "FROM x \\\n", "COPY a\\\n", "F\\\n", "\"\n"};
	UdError		err = {0};
	UdBuf		text = {0};
	clock_t		start = clock();

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
	{
		ud_buf_reset(&text);
		ud_buf_printf(&text, "FROM debian\n");
		while (text.len < DOCKERFILE_BYTES_MAX - 16)
			ud_buf_printf(&text, "%s", lines[i]);
		if (dockerfile_check((char *) text.data, text.len, &err) != 0)
			ck_assert_int_eq(err.reason, UD_REASON_PREP_FROM_REFUSED);
	}
	ck_assert_int_lt((clock() - start) / CLOCKS_PER_SEC, 20);
	ud_buf_release(&text);
}

END_TEST

int
main(void)
{
	Suite	   *suite = suite_create("agent/git dockerfile");
	TCase	   *tests = tcase_create("dockerfile");
	SRunner    *runner;
	int			failed;

	tcase_set_timeout(tests, 30);
	tcase_add_loop_test(tests, is_allowed, 0, (int) (sizeof(allowed) / sizeof(allowed[0])));
	tcase_add_loop_test(tests, is_refused, 0, (int) (sizeof(refused) / sizeof(refused[0])));
	tcase_add_test(tests, nul_bytes);
	tcase_add_test(tests, bounded_work);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
