/*
 * dockerignore.c
 *	  .dockerignore patterns.
 *
 * A pattern becomes a list of tokens that is run as a nondeterministic
 * automaton over the path's code points: time is tokens x path at worst,
 * where backtracking over many "**" would be exponential, and the patterns
 * come from strangers.
 */
#include "agent/git/dockerignore.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/cleanup.h"
#include "common/reasons.h"

#define PATTERN_TOKENS_MAX 1024
#define PATH_POINTS_MAX 4096

typedef enum TokenKind
{
	TOKEN_POINT,				/* this code point */
	TOKEN_ANY,					/* ? : one, no slash */
	TOKEN_CLASS,				/* [a-z] : one of the ranges, no slash */
	TOKEN_STAR,					/* * : any number, no slash */
	TOKEN_ALL,					/* ** at the end: whatever follows */
	TOKEN_DIRECTORIES			/* double star and slash: nothing, or any that
								 * ends with a slash */
} TokenKind;

typedef struct Range
{
	uint32_t	first;
	uint32_t	last;
} Range;

typedef struct Token
{
	TokenKind	kind;
	uint32_t	point;
	bool		negated;		/* of a class */
	uint32_t	range_at;		/* of a class: where in ranges */
	uint32_t	range_count;
} Token;

typedef struct Pattern
{
	bool		negation;
	Token	   *tokens;
	size_t		token_count;
	Range	   *ranges;
	size_t		range_count;
} Pattern;

struct Dockerignore
{
	Pattern    *patterns;
	size_t		count;
	bool		has_negation;
};

/* Decode one code point; a byte that is no UTF-8 counts as U+FFFD, as in Go. */
static uint32_t
next_point(const char **text, const char *end)
{
	const uint8_t *c = (const uint8_t *) *text;
	size_t		left = (size_t) (end - *text);
	int			more = c[0] < 0x80 ? 0 : c[0] >= 0xf0 && c[0] <= 0xf4 ? 3 : c[0] >= 0xe0 ? 2 : c[0] >= 0xc2 ? 1 : -1;
	uint32_t	point;

	(*text)++;
	if (more == 0)
		return c[0];
	if (more < 0 || c[0] > 0xf4 || left <= (size_t) more)
		return 0xfffd;
	point = c[0] & (0x3fu >> more);
	for (int i = 1; i <= more; i++)
	{
		if ((c[i] & 0xc0) != 0x80)
			return 0xfffd;
		point = point << 6 | (c[i] & 0x3f);
	}
	*text += more;
	return point;
}

/*
 * Lexical cleaning as Go's filepath.Clean, leading slashes gone: "a//b",
 * "./a/", "/x/../a".  The result is in place; "" when nothing is left.  False
 * when it climbs above the root, where no path of ours lies.
 */
static bool
clean_path(char *path)
{
	char	   *out = path;
	const char *in = path;
	bool		is_absolute = *path == '/';

	while (*in != '\0')
	{
		size_t		len = strcspn(in, "/");
		bool		is_up = len == 2 && in[0] == '.' && in[1] == '.';

		if (is_up && out > path)
		{
			while (out > path && *--out != '/')
				;
		}
		else if (is_up && !is_absolute)
			return false;
		else if (len > 0 && !(len == 1 && *in == '.') && !is_up)
		{
			/* Never beyond in: a separator was read before this part. */
			if (out > path)
				*out++ = '/';
			memmove(out, in, len);
			out += len;
		}
		in += len;
		in += strspn(in, "/");
	}
	*out = '\0';
	return true;
}

static Token *
add_token(Pattern *pattern, TokenKind kind)
{
	Token	   *token = &pattern->tokens[pattern->token_count++];

	memset(token, 0, sizeof(*token));
	token->kind = kind;
	return token;
}

/* A character of a class; as in Docker, "-" and "]" need an escape. */
static bool
class_point(const char **text, const char *end, uint32_t *point)
{
	if (*text < end && (**text == '-' || **text == ']'))
		return false;
	if (*text < end && **text == '\\')
		(*text)++;
	if (*text >= end)
		return false;
	*point = next_point(text, end);
	return true;
}

/* After "["; false when it is no class. */
static bool
parse_class(Pattern *pattern, const char **text, const char *end)
{
	Token	   *token = add_token(pattern, TOKEN_CLASS);

	token->range_at = (uint32_t) pattern->range_count;
	if (*text < end && **text == '^')
	{
		token->negated = true;
		(*text)++;
	}
	while (*text < end && (**text != ']' || token->range_count == 0))
	{
		Range	   *range = &pattern->ranges[pattern->range_count];

		if (!class_point(text, end, &range->first))
			return false;
		range->last = range->first;
		if (*text < end && **text == '-')
		{
			(*text)++;
			if (!class_point(text, end, &range->last))
				return false;
		}
		pattern->range_count++;
		token->range_count++;
	}
	if (*text >= end)
		return false;
	(*text)++;
	return true;
}

static bool
compile_pattern(Pattern *pattern, const char *text)
{
	const char *end = text + strlen(text);

	/* No pattern has more tokens or ranges than bytes. */
	pattern->tokens = ud_calloc(strlen(text) + 1, sizeof(Token));
	pattern->ranges = ud_calloc(strlen(text) + 1, sizeof(Range));
	while (text < end)
	{
		uint32_t	point = next_point(&text, end);

		if (point == '*' && text < end && *text == '*')
		{
			text++;
			if (text < end && *text == '/')
				text++;
			add_token(pattern, text == end ? TOKEN_ALL : TOKEN_DIRECTORIES);
		}
		else if (point == '*')
			add_token(pattern, TOKEN_STAR);
		else if (point == '?')
			add_token(pattern, TOKEN_ANY);
		else if (point == '[')
		{
			if (!parse_class(pattern, &text, end))
				return false;
		}
		else
		{
			if (point == '\\')
			{
				if (text == end)
					return false;
				point = next_point(&text, end);
			}
			add_token(pattern, TOKEN_POINT)->point = point;
		}
	}
	return pattern->token_count <= PATTERN_TOKENS_MAX;
}

static bool
class_has(const Pattern *pattern, const Token *token, uint32_t point)
{
	for (uint32_t i = 0; i < token->range_count; i++)
	{
		const Range *range = &pattern->ranges[token->range_at + i];

		if (point >= range->first && point <= range->last)
			return !token->negated;
	}
	return token->negated;
}

/*
 * The automaton's states: "before token i", and for a TOKEN_DIRECTORIES also
 * "inside it", which it may leave only after a slash.
 */
typedef struct States
{
	bool		before[PATTERN_TOKENS_MAX + 1];
	bool		inside[PATTERN_TOKENS_MAX];
} States;

static void
clear(const Pattern *pattern, States *states)
{
	memset(states->before, 0, pattern->token_count + 1);
	memset(states->inside, 0, pattern->token_count);
}

/* Reach token i, and what follows it for free. */
static void
reach(const Pattern *pattern, States *states, size_t i)
{
	for (;; i++)
	{
		if (states->before[i])
			return;
		states->before[i] = true;
		if (i == pattern->token_count
			|| (pattern->tokens[i].kind != TOKEN_STAR && pattern->tokens[i].kind != TOKEN_ALL
				&& pattern->tokens[i].kind != TOKEN_DIRECTORIES))
			return;
	}
}

static void
step(const Pattern *pattern, const States *from, States *to, uint32_t point)
{
	clear(pattern, to);
	for (size_t i = 0; i < pattern->token_count; i++)
	{
		const Token *token = &pattern->tokens[i];
		bool		goes_on = false;

		if (token->kind == TOKEN_DIRECTORIES && (from->before[i] || from->inside[i]))
		{
			to->inside[i] = true;
			goes_on = point == '/';
		}
		if (from->before[i])
			switch (token->kind)
			{
				case TOKEN_POINT:
					goes_on = point == token->point;
					break;
				case TOKEN_ANY:
					goes_on = point != '/';
					break;
				case TOKEN_CLASS:
					goes_on = point != '/' && class_has(pattern, token, point);
					break;
				case TOKEN_STAR:
					if (point != '/')
						reach(pattern, to, i);
					break;
				case TOKEN_ALL:
					reach(pattern, to, i);
					break;
				case TOKEN_DIRECTORIES:
					break;
			}
		if (goes_on)
			reach(pattern, to, i + 1);
	}
}

static bool
matches(const Pattern *pattern, const uint32_t *points, size_t count)
{
	States		a;
	States		b;
	States	   *now = &a;
	States	   *next = &b;

	/* Most patterns start with a plain character that most paths lack. */
	if (pattern->token_count > 0 && pattern->tokens[0].kind == TOKEN_POINT
		&& (count == 0 || pattern->tokens[0].point != points[0]))
		return false;
	clear(pattern, now);
	reach(pattern, now, 0);
	for (size_t i = 0; i < count; i++)
	{
		States	   *swap = now;

		step(pattern, now, next, points[i]);
		now = next;
		next = swap;
	}
	return now->before[pattern->token_count];
}

static bool
is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static void
trim(char **text)
{
	char	   *end;

	while (is_blank(**text))
		(*text)++;
	end = *text + strlen(*text);
	while (end > *text && is_blank(end[-1]))
		end--;
	*end = '\0';
}

/* One line; it is changed. */
static int
parse_line(Dockerignore *ignore, char *line, UdError *err)
{
	Pattern    *pattern;
	bool		negation = false;

	if (*line == '#')
		return 0;
	trim(&line);
	if (*line == '!')
	{
		negation = true;
		line++;
		trim(&line);
	}
	if (negation && *line == '\0')
		return ud_error(err, UD_EINVAL, UD_REASON_PREP_TREE_INVALID, ".dockerignore has a \"!\" without a pattern");
	/* For historical reasons Docker ignores a pattern that is the root. */
	if (!clean_path(line) || *line == '\0')
		return 0;
	if (ignore->count == DOCKERIGNORE_PATTERNS_MAX)
		return ud_error(err, UD_EINVAL, UD_REASON_PREP_TREE_INVALID,
						".dockerignore has more than %d patterns", DOCKERIGNORE_PATTERNS_MAX);
	pattern = &ignore->patterns[ignore->count++];
	pattern->negation = negation;
	ignore->has_negation = ignore->has_negation || negation;
	if (!compile_pattern(pattern, line))
		return ud_error(err, UD_EINVAL, UD_REASON_PREP_TREE_INVALID,
						".dockerignore has a malformed pattern: \"%.200s\"", line);
	return 0;
}

Dockerignore *
dockerignore_parse(const char *text, size_t len, UdError *err)
{
	Dockerignore *ignore;
	ud_auto_free char *copy = NULL;
	char	   *line;
	char	   *next;

	if (len > DOCKERIGNORE_BYTES_MAX || memchr(text, '\0', len) != NULL)
	{
		(void) ud_error(err, UD_EINVAL, UD_REASON_PREP_TREE_INVALID,
						".dockerignore is larger than %d bytes or holds NUL bytes", DOCKERIGNORE_BYTES_MAX);
		return NULL;
	}
	ignore = ud_calloc(1, sizeof(*ignore));
	ignore->patterns = ud_calloc(DOCKERIGNORE_PATTERNS_MAX, sizeof(Pattern));
	copy = ud_malloc(len + 1);
	memcpy(copy, text, len);
	copy[len] = '\0';
	line = copy;
	if (strncmp(line, "\xef\xbb\xbf", 3) == 0)
		line += 3;
	for (; line != NULL; line = next)
	{
		next = strchr(line, '\n');
		if (next != NULL)
			*next++ = '\0';
		if (parse_line(ignore, line, err) != 0)
		{
			dockerignore_free(ignore);
			return NULL;
		}
	}
	return ignore;
}

void
dockerignore_free(Dockerignore *ignore)
{
	if (ignore == NULL)
		return;
	for (size_t i = 0; i < ignore->count; i++)
	{
		free(ignore->patterns[i].tokens);
		free(ignore->patterns[i].ranges);
	}
	free(ignore->patterns);
	free(ignore);
}

bool *
dockerignore_new_scope(const Dockerignore *ignore)
{
	return ud_calloc(ignore->count, sizeof(bool));
}

bool
dockerignore_has_negation(const Dockerignore *ignore)
{
	return ignore->has_negation;
}

bool
dockerignore_excludes(const Dockerignore *ignore, const bool *scope, const char *path, bool *child_scope)
{
	uint32_t	points[PATH_POINTS_MAX];
	size_t		count = 0;
	const char *end = path + strlen(path);
	bool		excluded = false;

	while (path < end && count < PATH_POINTS_MAX)
		points[count++] = next_point(&path, end);
	for (size_t i = 0; i < ignore->count; i++)
	{
		const Pattern *pattern = &ignore->patterns[i];
		bool		matched = scope[i];

		/*
		 * A pattern that would change nothing is not tried, and so does not
		 * count for what lies below: Docker's "x" taken back by "!x" only
		 * where something had left x itself out.
		 */
		if (!matched && pattern->negation == excluded)
			matched = matches(pattern, points, count);
		if (matched)
			excluded = !pattern->negation;
		if (child_scope != NULL)
			child_scope[i] = matched;
	}
	return excluded;
}
