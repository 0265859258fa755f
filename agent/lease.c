/*
 * lease.c
 *	  Clocks and lease arithmetic.
 */
#include "agent/lease.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* Limits beyond which a duration is as good as for ever: 100 years. */
#define SECONDS_MAX (100.0 * 366 * 86400)

static char boot_id[UD_BOOT_ID_BYTES];
static pthread_once_t boot_id_once = PTHREAD_ONCE_INIT;

int64_t
clock_boot_ns(void)
{
	return clock_ns(CLOCK_BOOTTIME);
}

int64_t
clock_real_ns(void)
{
	return clock_ns(CLOCK_REALTIME);
}

int64_t
clock_add_s(int64_t base_ns, double seconds)
{
	int64_t		sum;

	if (isnan(seconds))
		seconds = 0;
	seconds = fmax(-SECONDS_MAX, fmin(SECONDS_MAX, seconds));
	if (__builtin_add_overflow(base_ns, (int64_t) (seconds * 1e9), &sum))
		return seconds > 0 ? INT64_MAX : INT64_MIN;
	return sum;
}

static void
clock_read_boot_id(void)
{
	FILE	   *file = fopen("/proc/sys/kernel/random/boot_id", "re");

	if (file == NULL)
		return;
	if (fgets(boot_id, sizeof(boot_id), file) != NULL)
		boot_id[strcspn(boot_id, "\n")] = '\0';
	fclose(file);
}

const char *
clock_boot_id(void)
{
	pthread_once(&boot_id_once, clock_read_boot_id);
	return boot_id;
}

int64_t
lease_deadline_ns(const LeaseTerms *terms)
{
	return clock_add_s(terms->base_boot_ns, terms->lease_s - terms->grace_s - terms->margin_s);
}

void
lease_fill_control(UdControl *control, const LeaseTerms *terms)
{
	memset(control, 0, sizeof(*control));
	control->magic = UD_CONTROL_MAGIC;
	control->has_lease = terms->has_lease;
	control->stop_announced = terms->stop_announced;
	control->warn_signal = (uint16_t) terms->warn_signal;
	memcpy(control->boot_id, clock_boot_id(), strlen(clock_boot_id()));
	control->deadline_boot_ns = terms->has_lease ? lease_deadline_ns(terms) : 0;
	/* A deadline before the machine started is over, not invalid. */
	if (control->deadline_boot_ns < 0)
		control->deadline_boot_ns = 0;
	control->written_boot_ns = clock_boot_ns();
	control->written_realtime_ns = clock_real_ns();
	control->grace_s = (uint32_t) fmax(0, fmin(86400, ceil(terms->grace_s)));
}
