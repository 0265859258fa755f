/*
 * dockerfile.c
 *	  The policy on what a Dockerfile may build upon.
 *
 * Builders of different versions disagree about continued lines, comments
 * within them, here-documents and parser directives.  A reader that followed
 * one of them could be made to overlook what another one runs.  So:
 *
 *	- before the first FROM only comments and plain one-line ARGs are allowed:
 *	  there all builders agree, and FROM can use no other variable;
 *	- from there on *every* physical line is judged as if an instruction
 *	  started there, continued by whatever could continue it.
 *
 * That refuses a little too much rather than too little.
 */
#include "agent/git/dockerfile.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/reasons.h"

#define REFUSE(...) ud_error(err, UD_EINVAL, UD_REASON_PREP_FROM_REFUSED, __VA_ARGS__)

#define NAMES_MAX 256
#define JOINED_BYTES_MAX (16 * 1024 * 1024)
#define SHOWN "%.120s"

typedef struct Variable
{
	char	   *name;
	char	   *value;
} Variable;

typedef struct Dockerfile
{
	char	   *text;			/* owned, cut into lines */
	char	  **lines;
	size_t		line_count;
	Variable	variables[NAMES_MAX];
	size_t		variable_count;
	char	   *stages[NAMES_MAX];
	size_t		stage_count;
	bool		has_heredoc;
	size_t		joined_bytes;	/* work done, see JOINED_BYTES_MAX */
} Dockerfile;

/* Builders count any Unicode space as one; all become ' ' here. */
static void
plain_spaces(char *text)
{
	static const char *const spaces[] = {
		"\xc2\x85", "\xc2\xa0", "\xe1\x9a\x80", "\xe2\x80\x80", "\xe2\x80\x81", "\xe2\x80\x82", "\xe2\x80\x83",
		"\xe2\x80\x84", "\xe2\x80\x85", "\xe2\x80\x86", "\xe2\x80\x87", "\xe2\x80\x88", "\xe2\x80\x89",
		"\xe2\x80\x8a", "\xe2\x80\xa8", "\xe2\x80\xa9", "\xe2\x80\xaf", "\xe2\x81\x9f", "\xe3\x80\x80",
	};

	for (char *c = text; *c != '\0'; c++)
	{
		if (*c == '\t' || *c == '\v' || *c == '\f' || *c == '\r')
			*c = ' ';
		for (size_t i = 0; (unsigned char) *c >= 0xc2 && i < sizeof(spaces) / sizeof(spaces[0]); i++)
			if (strncmp(c, spaces[i], strlen(spaces[i])) == 0)
				memset(c, ' ', strlen(spaces[i]));
	}
}

static void
split_lines(Dockerfile *file)
{
	size_t		count = 1;
	char	   *line = file->text;

	for (const char *c = file->text; *c != '\0'; c++)
		count += *c == '\n';
	file->lines = ud_calloc(count, sizeof(char *));
	while (line != NULL)
	{
		char	   *next = strchr(line, '\n');

		if (next != NULL)
			*next++ = '\0';
		line += strspn(line, " ");
		file->lines[file->line_count++] = line;
		line = next;
	}
}

static void
release(Dockerfile *file)
{
	free(file->text);
	free(file->lines);
	for (size_t i = 0; i < file->variable_count; i++)
	{
		free(file->variables[i].name);
		free(file->variables[i].value);
	}
	for (size_t i = 0; i < file->stage_count; i++)
		free(file->stages[i]);
}

static bool
is_skipped(const char *line)
{
	return *line == '\0' || *line == '#';
}

/* Bytes before the escape character that ends the line, or -1. */
static ssize_t
continued_at(const char *line)
{
	size_t		len = strlen(line);

	while (len > 0 && line[len - 1] == ' ')
		len--;
	return len > 0 && (line[len - 1] == '\\' || line[len - 1] == '`') ? (ssize_t) len - 1 : -1;
}

/* Without quotes and escapes, which builders take away before they look. */
static void
strip_quoting(char *text)
{
	char	   *out = text;

	for (const char *c = text; *c != '\0'; c++)
		if (strchr("\\`\"'", *c) == NULL)
			*out++ = *c;
	*out = '\0';
}

static const char *
find_variable(const Dockerfile *file, const char *name, size_t len)
{
	static const char *const platform[] = {
		"TARGETPLATFORM", "TARGETOS", "TARGETARCH", "TARGETVARIANT",
		"BUILDPLATFORM", "BUILDOS", "BUILDARCH", "BUILDVARIANT",
	};

	for (size_t i = file->variable_count; i-- > 0;)
		if (strlen(file->variables[i].name) == len && memcmp(file->variables[i].name, name, len) == 0)
			return file->variables[i].value;
	for (size_t i = 0; i < sizeof(platform) / sizeof(platform[0]); i++)
		if (strlen(platform[i]) == len && memcmp(platform[i], name, len) == 0)
			return "";
	return NULL;
}

/*
 * $X, ${X}, ${X:-word}, ${X:+word}; *text stands after the dollar sign.
 */
static int
expand_variable(const Dockerfile *file, const char **text, UdBuf *out, UdError *err)
{
	static const char name_chars[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_";
	const char *start = *text;
	bool		braced = *start == '{';
	const char *name = start + braced;
	size_t		len = strspn(name, name_chars);
	const char *rest = name + len;
	const char *value = find_variable(file, name, len);
	size_t		word_len;

	if (len == 0)
		return REFUSE("Dockerfile: could not understand \"$" SHOWN "\" in an image name", start);
	*text = rest;
	if (braced && *rest == '}')
		*text = rest + 1;
	else if (braced)
	{
		const char *word = rest + 2;

		if (rest[0] != ':' || (rest[1] != '-' && rest[1] != '+'))
			return REFUSE("Dockerfile: could not understand \"$" SHOWN "\" in an image name", start);
		word_len = strcspn(word, "${}");
		if (word[word_len] != '}')
			return REFUSE("Dockerfile: could not understand \"$" SHOWN "\" in an image name", start);
		*text = word + word_len + 1;
		if ((value == NULL || *value == '\0') == (rest[1] == '-'))
			ud_buf_append(out, word, word_len);
		else if (rest[1] == '-' && value != NULL)
			ud_buf_append(out, value, strlen(value));
		return 0;
	}
	if (value == NULL)
		return REFUSE("Dockerfile: \"$%.*s\" in an image name has no ARG before the first FROM", (int) len, name);
	ud_buf_append(out, value, strlen(value));
	return 0;
}

static int
expand(const Dockerfile *file, const char *text, UdBuf *out, UdError *err)
{
	ud_buf_reset(out);
	while (*text != '\0')
	{
		int			rc = 0;

		if (*text++ != '$')
			ud_buf_append(out, text - 1, 1);
		else
			rc = expand_variable(file, &text, out, err);
		if (rc != 0)
			return rc;
	}
	(void) ud_buf_text(out);
	return 0;
}

static int
add_variable(Dockerfile *file, const char *token, UdError *err)
{
	ud_auto_buf UdBuf value = {0};
	size_t		len = strcspn(token, "=");
	int			rc;

	if (file->variable_count == NAMES_MAX)
		return REFUSE("Dockerfile: more than %d ARGs before the first FROM", NAMES_MAX);
	rc = expand(file, token[len] == '=' ? token + len + 1 : "", &value, err);
	if (rc != 0)
		return rc;
	file->variables[file->variable_count].name = strndup(token, len);
	file->variables[file->variable_count].value = ud_strdup(ud_buf_text(&value));
	file->variable_count++;
	return 0;
}

/* Does a blank stand inside quotes, or an escape anywhere? */
static bool
has_hard_quoting(const char *line)
{
	char		quote = '\0';

	for (; *line != '\0'; line++)
	{
		if (*line == '\\' || *line == '`' || (*line == ' ' && quote != '\0'))
			return true;
		if (quote == *line)
			quote = '\0';
		else if (quote == '\0' && (*line == '"' || *line == '\''))
			quote = *line;
	}
	return quote != '\0';
}

/* "ARG a=b c": what is one word to us is one word to every builder. */
static int
read_arg(Dockerfile *file, const char *line, UdError *err)
{
	ud_auto_free char *copy = ud_strdup(line);
	char	   *save = NULL;
	const char *token;
	int			rc = 0;

	if (has_hard_quoting(line))
		return REFUSE("Dockerfile: \"" SHOWN "\" before the first FROM has blanks in quotes, or escapes", line);
	strip_quoting(copy);
	(void) strtok_r(copy, " ", &save);
	while (rc == 0 && (token = strtok_r(NULL, " ", &save)) != NULL)
		rc = add_variable(file, token, err);
	return rc;
}

static bool
starts_with_word(const char *line, const char *word)
{
	size_t		len = strlen(word);

	return strncasecmp(line, word, len) == 0 && (line[len] == ' ' || line[len] == '\0');
}

static bool
is_syntax_directive(const char *line)
{
	line += strspn(line, "#/! ");
	if (strncasecmp(line, "syntax", 6) != 0)
		return false;
	line += 6;
	return line[strspn(line, " ")] == '=';
}

/* Comments and ARGs before the first FROM; *first is its line. */
static int
read_preamble(Dockerfile *file, size_t *first, UdError *err)
{
	for (*first = 0; *first < file->line_count; (*first)++)
	{
		const char *line = file->lines[*first];
		int			rc = 0;

		if ((*line == '#' || strncmp(line, "//", 2) == 0) && is_syntax_directive(line))
			return REFUSE("Dockerfile: a \"# syntax=\" line names a remote frontend, which is not allowed");
		if (is_skipped(line))
			continue;
		if (starts_with_word(line, "FROM"))
			return 0;
		if (!starts_with_word(line, "ARG"))
			return REFUSE("Dockerfile: \"" SHOWN "\" stands before the first FROM", line);
		if (continued_at(line) >= 0)
			return REFUSE("Dockerfile: an ARG before the first FROM goes on in the next line");
		rc = read_arg(file, line, err);
		if (rc != 0)
			return rc;
	}
	return 0;
}

static bool
is_stage(const Dockerfile *file, const char *name)
{
	for (size_t i = 0; i < file->stage_count; i++)
		if (strcasecmp(file->stages[i], name) == 0)
			return true;
	return false;
}

static bool
is_word(const char *text, size_t len, const char *word)
{
	return strlen(word) == len && strncasecmp(text, word, len) == 0;
}

static bool
is_in_our_namespace(const char *image)
{
	for (const char *part = image; part != NULL;)
	{
		size_t		len = strcspn(part, "/:@");

		if (is_word(part, len, DOCKERFILE_CACHE_NAMESPACE) || (part[len] == '/' && is_word(part, len, DOCKERFILE_OWN_NAMESPACE)))
			return true;
		part = strchr(part, '/');
		if (part != NULL)
			part++;
	}
	return false;
}

static int
check_namespace(const char *image, UdError *err)
{
	if (is_in_our_namespace(image))
		return REFUSE("Dockerfile: image \"" SHOWN "\" is in this platform's own namespace", image);
	if (strncasecmp(image, "sha256:", 7) == 0 || strncasecmp(image, "sha384:", 7) == 0
		|| strncasecmp(image, "sha512:", 7) == 0)
		return REFUSE("Dockerfile: \"" SHOWN "\" is an image id, name an image instead", image);
	return 0;
}

/*
 * Engines find an image by any unambiguous start of its id, so every name of
 * hexadecimal digits alone could be one, however short.
 */
static int
check_id(const Dockerfile *file, const char *image, UdError *err)
{
	if (*image == '\0')
		return REFUSE("Dockerfile: an image name is empty");
	if (strspn(image, "0123456789abcdefABCDEF") != strlen(image) || is_stage(file, image))
		return 0;
	return REFUSE("Dockerfile: \"" SHOWN "\" could be an image id, write it with its tag", image);
}

/* Did the previous instruction surely end?  Builders' differences considered. */
static bool
starts_surely(const Dockerfile *file, size_t at)
{
	if (file->has_heredoc)
		return false;
	while (at-- > 0)
		if (!is_skipped(file->lines[at]))
			return continued_at(file->lines[at]) < 0;
	return true;
}

static int
check_from(Dockerfile *file, char **tokens, size_t count, size_t at, bool had_quotes, UdError *err)
{
	ud_auto_buf UdBuf name = {0};
	char	   *words[4] = {NULL};
	size_t		word_count = 0;
	bool		has_flag = false;
	bool		is_plain;
	int			rc = 0;

	for (size_t i = 0; i < count; i++)
	{
		if (strncmp(tokens[i], "--", 2) == 0)
			has_flag = true;
		else if (word_count++ < 4)
			words[word_count - 1] = tokens[i];
	}
	is_plain = word_count == 1 || (word_count == 3 && strcasecmp(words[1], "as") == 0);
	/* Anything else the builder refuses itself, unless quotes fooled us. */
	for (size_t i = 0; rc == 0 && i < count; i++)
	{
		bool		is_name = is_plain && tokens[i] == words[0];

		if (strncmp(tokens[i], "--", 2) == 0 || (!is_name && strchr(tokens[i], '$') != NULL && !has_flag))
			continue;
		rc = expand(file, tokens[i], &name, err);
		if (rc == 0)
			rc = check_namespace(ud_buf_text(&name), err);
		if (rc == 0 && (is_name || (has_flag && had_quotes)))
			rc = check_id(file, ud_buf_text(&name), err);
	}
	if (rc == 0 && is_plain && word_count == 3 && starts_surely(file, at) && continued_at(file->lines[at]) < 0
		&& file->stage_count < NAMES_MAX)
		file->stages[file->stage_count++] = ud_strdup(words[2]);
	return rc;
}

/* The value of COPY --from= or of a mount's from=. */
static int
check_source(const Dockerfile *file, const char *image, UdError *err)
{
	int			rc;

	if (strchr(image, '$') != NULL)
		return REFUSE("Dockerfile: \"" SHOWN "\" has a variable where an image or stage is copied from", image);
	/* A stage's number: what is no number of a stage is an error there. */
	if (strlen(image) <= 9 && strspn(image, "0123456789") == strlen(image))
		return 0;
	rc = check_namespace(image, err);
	return rc != 0 ? rc : check_id(file, image, err);
}

static int
check_mount(const Dockerfile *file, char *fields, UdError *err)
{
	char	   *save = NULL;
	int			rc = 0;

	for (char *field = strtok_r(fields, ",", &save); rc == 0 && field != NULL; field = strtok_r(NULL, ",", &save))
		if (strncasecmp(field, "from=", 5) == 0)
			rc = check_source(file, field + 5, err);
	return rc;
}

/* The text of the instruction that may start at this line. */
static int
join_lines(Dockerfile *file, size_t at, UdBuf *out, UdError *err)
{
	ud_buf_reset(out);
	for (; at < file->line_count; at++)
	{
		const char *line = file->lines[at];
		ssize_t		end;

		file->joined_bytes += 1 + strlen(line);
		if (file->joined_bytes > JOINED_BYTES_MAX)
			return REFUSE("Dockerfile: too many continued lines");
		if (out->len > 0 && is_skipped(line))
			continue;
		end = continued_at(line);
		ud_buf_append(out, line, end < 0 ? strlen(line) : (size_t) end);
		if (end < 0)
			break;
	}
	(void) ud_buf_text(out);
	return 0;
}

/* Can the line be the start of one of these words, or of a part of it? */
static bool
is_worth_joining(const char *line)
{
	static const char *const words[] = {"FROM", "COPY", "ADD", "RUN", "ONBUILD"};
	ssize_t		end = continued_at(line);
	size_t		len = strcspn(line, " \\`\"'");

	if (end >= 0 && (size_t) end <= len)
		return true;			/* a word cut in two by the line's end */
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strncasecmp(line, words[i], len) == 0)
			return true;
	return false;
}

static int
check_instruction(Dockerfile *file, size_t at, UdBuf *joined, UdError *err)
{
	ud_auto_free char **tokens = NULL;
	size_t		count = 0;
	size_t		skip = 0;
	char	   *save = NULL;
	char	   *text = (char *) joined->data;
	bool		had_quotes = strpbrk(text, "\\`\"'") != NULL;
	int			rc = 0;

	strip_quoting(text);
	tokens = ud_calloc(strlen(text) / 2 + 2, sizeof(char *));
	for (char *token = strtok_r(text, " ", &save); token != NULL; token = strtok_r(NULL, " ", &save))
		tokens[count++] = token;
	while (skip < count && strcasecmp(tokens[skip], "ONBUILD") == 0)
		skip++;
	if (skip == count)
		return 0;
	if (strcasecmp(tokens[skip], "FROM") == 0)
		return check_from(file, tokens + skip + 1, count - skip - 1, at, had_quotes, err);
	for (size_t i = skip + 1; rc == 0 && i < count; i++)
	{
		if (strncasecmp(tokens[i], "--from=", 7) == 0
			&& (strcasecmp(tokens[skip], "COPY") == 0 || strcasecmp(tokens[skip], "ADD") == 0))
			rc = check_source(file, tokens[i] + 7, err);
		else if (strncasecmp(tokens[i], "--mount=", 8) == 0 && strcasecmp(tokens[skip], "RUN") == 0)
			rc = check_mount(file, tokens[i] + 8, err);
	}
	return rc;
}

static int
check_lines(Dockerfile *file, UdError *err)
{
	ud_auto_buf UdBuf joined = {0};
	size_t		at;
	int			rc = read_preamble(file, &at, err);

	for (; rc == 0 && at < file->line_count; at++)
	{
		if (is_skipped(file->lines[at]) || !is_worth_joining(file->lines[at]))
			continue;
		rc = join_lines(file, at, &joined, err);
		if (rc == 0 && joined.len > 0)
			rc = check_instruction(file, at, &joined, err);
	}
	return rc;
}

int
dockerfile_check(const char *text, size_t len, UdError *err)
{
	Dockerfile	file = {0};
	int			rc;

	if (memchr(text, '\0', len) != NULL)
		return REFUSE("Dockerfile: holds NUL bytes");
	if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
	{
		text += 3;
		len -= 3;
	}
	file.text = ud_malloc(len + 1);
	memcpy(file.text, text, len);
	file.text[len] = '\0';
	file.has_heredoc = strstr(file.text, "<<") != NULL;
	plain_spaces(file.text);
	split_lines(&file);
	rc = check_lines(&file, err);
	release(&file);
	return rc;
}
