/*
 * environment.h
 *	  Variables of the environment that look like settings and are none.
 */
#ifndef UD_ENVIRONMENT_H
#define UD_ENVIRONMENT_H

/*
 * Warn of each variable UNIDESK_* that is not in known (NULL-terminated): a
 * typing error in a name would otherwise silently mean the default.  Values
 * are not shown.
 */
extern void ud_environment_warn(const char *const *known);

#endif							/* UD_ENVIRONMENT_H */
