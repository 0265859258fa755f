/*
 * check_url.c
 *	  Which repositories may be dialled.
 */
#include "agent/git/url.h"

#include <arpa/inet.h>
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/reasons.h"

START_TEST(parts)
{
	RepoUrl		url;
	UdError		err = {0};

	ck_assert_int_eq(url_parse("https://example.com/a/b.git", "*", &url, &err), 0);
	ck_assert(url.is_https);
	ck_assert_str_eq(url.host, "example.com");
	ck_assert_str_eq(url.port, "443");
	ck_assert_int_eq(url_parse("https://example.com:8443/a", "*", &url, &err), 0);
	ck_assert_str_eq(url.port, "8443");
	ck_assert_int_eq(url_parse("https://[2a00:1450::1]:1/a", "*", &url, &err), 0);
	ck_assert_str_eq(url.host, "2a00:1450::1");
	ck_assert_str_eq(url.port, "1");
	ck_assert_int_eq(url_parse("http://git:80/a", "GIT:80", &url, &err), 0);
	ck_assert(!url.is_https);
	ck_assert_str_eq(url.port, "80");
	ck_assert_int_eq(url_parse("https://example.com/a%20b", "*", &url, &err), 0);
}

END_TEST

static const char *const refused[] = {
	"", "https://", "https:///x", "https://:443/x", "https://example.com:/../x:y@z/", "https://example.com:0/",
	"https://example.com:65536/", "https://example.com:x/", "https://example.com:443x/", "https://-x/", "https://.x/",
	"https://[::1/x", "https://[::1]x/", "https://[fe80::1%25eth0]/", "https://[1.2.3.4]/", "https://a b/", "https://a\tb/",
	"https://a/\n", "https://a/\x7f", "https://a/\xc3\xa9", "https://a\\b/", "https://%6cocalhost/", "https://a/%00", "https://a/%0a",
	"https://a/%7F", "https://a/%zz", "https://a/%", "https://u@a/", "https://u:p@a/", "https://a?b", "https://a/x?b", "https://a/#b",
	"HTTPS://a/", " https://a/", "-https://a/", "ftp://a/", "file:///a", "file://a/b", "ssh://a/b", "git://a/b", "git@a:b",
	"a:b", "/a", "./a", "ext::x", "https+x://a/", "http:/a", "https:a",
};

START_TEST(is_refused)
{
	RepoUrl		url;
	UdError		err = {0};

	ck_assert_msg(url_parse(refused[_i], "*,a,example.com", &url, &err) != 0, "allowed: %s", refused[_i]);
	ck_assert_int_eq(err.reason, UD_REASON_PREP_REPO_REFUSED);
}

END_TEST

START_TEST(limits)
{
	char		long_url[URL_BYTES_MAX + 100];
	RepoUrl		url;
	UdError		err = {0};

	ck_assert_int_ne(url_parse("http://example.com/x", "*", &url, &err), 0);
	memset(long_url, 'a', sizeof(long_url));
	memcpy(long_url, "https://a/", 10);
	long_url[sizeof(long_url) - 1] = '\0';
	ck_assert_int_ne(url_parse(long_url, "*", &url, &err), 0);
	long_url[9] = 'a';
	long_url[1000] = '\0';
	ck_assert_int_ne(url_parse(long_url, "*", &url, &err), 0);
}

END_TEST

static bool
judge(const char *text, bool (*is) (const struct sockaddr *address))
{
	struct sockaddr_in v4 = {
		.sin_family = AF_INET,
	};
	struct sockaddr_in6 v6 = {
		.sin6_family = AF_INET6,
	};

	if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
		return is((struct sockaddr *) &v4);
	ck_assert_msg(inet_pton(AF_INET6, text, &v6.sin6_addr) == 1, "%s", text);
	return is((struct sockaddr *) &v6);
}

static bool
is_private(const char *text)
{
	return judge(text, address_is_private);
}

START_TEST(forbidden_addresses)
{
	static const char *const forbidden[] = {
		"169.254.0.1", "169.254.169.254", "::ffff:169.254.169.254", "64:ff9b::169.254.169.254", "2002:a9fe:a9fe::1",
		"fe80::1", "febf::1", "fd00:ec2::254", "168.63.129.16", "100.100.100.200",
	};
	static const char *const allowed[] = {
		"127.0.0.1", "::1", "10.0.0.1", "192.168.0.1", "fd00::1", "169.253.0.1", "100.100.100.201", "1.1.1.1",
	};

	for (size_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++)
	{
		ck_assert_msg(judge(forbidden[i], address_is_forbidden), "%s passes", forbidden[i]);
		ck_assert_msg(is_private(forbidden[i]), "%s is public", forbidden[i]);
	}
	for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++)
		ck_assert_msg(!judge(allowed[i], address_is_forbidden), "%s is refused", allowed[i]);
}

END_TEST

START_TEST(addresses)
{
	static const char *const private[] = {
		"0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.127.255.255", "100.100.100.200", "127.0.0.1",
		"127.255.255.255", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.168.0.1", "192.168.255.255",
		"198.18.0.1", "198.19.255.255", "224.0.0.1", "239.0.0.1", "240.0.0.1", "255.255.255.255", "168.63.129.16",
		"::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::10.0.0.1", "2002:7f00:1::", "2002:a00:1::1",
		"fc00::1", "fd00:ec2::254", "fdff::1", "fe80::1", "febf::1", "fec0::1", "ff02::1", "2001:db8::1", "2001::1",
	};
	static const char *const public[] = {
		"1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0", "169.253.255.255",
		"169.255.0.0", "172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0",
		"223.255.255.255", "140.82.112.3", "168.63.129.17", "2606:4700::1", "2a00:1450::1", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1",
		"2002:101:101::1", "2001:4860::1", "2001:200::1",
	};

	for (size_t i = 0; i < sizeof(private) / sizeof(private[0]); i++)
		ck_assert_msg(is_private(private[i]), "%s passes", private[i]);
	for (size_t i = 0; i < sizeof(public) / sizeof(public[0]); i++)
		ck_assert_msg(!is_private(public[i]), "%s is refused", public[i]);
}

END_TEST

int
main(void)
{
	Suite	   *suite = suite_create("agent/git url");
	TCase	   *tests = tcase_create("url");
	SRunner    *runner;
	int			failed;

	tcase_add_test(tests, parts);
	tcase_add_loop_test(tests, is_refused, 0, (int) (sizeof(refused) / sizeof(refused[0])));
	tcase_add_test(tests, limits);
	tcase_add_test(tests, addresses);
	tcase_add_test(tests, forbidden_addresses);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
