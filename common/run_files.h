/*
 * run_files.h
 *	  The files of one attempt's run directory, written by unidesk-init and by
 *	  the agent: how the two talk without a socket, and what survives either.
 *
 * run/<attempt>/ in the agent's data volume is mounted at /run/unidesk in the
 * task's container.  Structs are written in host byte order: both programs
 * run on the same machine.
 *
 *	log			written by init: records, append only
 *	exit		written by init: UdExitRecord, aside and renamed
 *	alive		a FIFO made by the agent, which reads it: init holds its write end
 *				until it ends, and writes a byte when others are left behind
 *	control		written by the agent: UdControl, aside and exchanged; read by
 *				init every second and before judging a TERM
 */
#ifndef UD_RUN_FILES_H
#define UD_RUN_FILES_H

#include <stdint.h>

#define UD_RUN_MOUNT "/run/unidesk"
#define UD_INIT_MOUNT "/.unidesk/init"
#define UD_RUN_LOG "log"
#define UD_RUN_EXIT "exit"
#define UD_RUN_CONTROL "control"
#define UD_RUN_ALIVE "alive"

#define UD_BOOT_ID_BYTES 40		/* text of /proc/sys/kernel/random/boot_id,
								 * NUL-padded */

/*
 * One record of the log file, followed by length bytes of payload.  offset
 * counts payload bytes of the attempt over both streams: one offset space,
 * contiguous.  A marker record (UD_LOG_MARKER, see protocol.h) takes part in
 * that space with the bytes of its text.
 */
#define UD_LOG_RECORD_MAGIC 0x474c4455u /* "UDLG" */
#define UD_LOG_RECORD_BYTES_MAX (64 * 1024)

typedef struct UdLogRecord
{
	uint32_t	magic;
	uint32_t	length;
	uint64_t	offset;
	int64_t		realtime_ns;
	uint8_t		stream;			/* UdLogStream */
	uint8_t		reserved[7];
} UdLogRecord;

typedef enum UdStoppedBy
{
	UD_STOPPED_SELF = 1,		/* it ended by itself */
	UD_STOPPED_AGENT = 2,		/* after a stop the agent announced */
	UD_STOPPED_LEASE = 3,		/* init ended it: lease over */
	UD_STOPPED_OUTSIDE = 4		/* after a TERM nobody announced: engine stop,
								 * reboot.  Infrastructure, never success */
} UdStoppedBy;

#define UD_EXIT_MAGIC 0x58454455u	/* "UDEX" */

typedef struct UdExitRecord
{
	uint32_t	magic;
	int32_t		code;			/* exit code, -1 when it died by a signal */
	int32_t		signal;			/* 0 or the signal */
	uint8_t		oom;			/* the cgroup counted an OOM kill */
	uint8_t		stopped_by;		/* UdStoppedBy */
	uint8_t		start_failed;	/* execve failed: code is 126 or 127 */
	uint8_t		reserved;
	uint64_t	log_end;		/* offset after the last payload byte */
	uint64_t	log_cut;		/* bytes dropped by the budget */
	int64_t		started_realtime_ns;
	int64_t		ended_realtime_ns;
	int64_t		run_ns;			/* boot clock, end - start */
} UdExitRecord;

#define UD_CONTROL_MAGIC 0x54434455u	/* "UDCT" */

typedef struct UdControl
{
	uint32_t	magic;
	uint8_t		has_lease;		/* 0: no lease, nothing ends it for lack of
								 * contact */
	uint8_t		stop_announced; /* the next TERM comes from the agent */
	uint16_t	reserved;
	char		boot_id[UD_BOOT_ID_BYTES];	/* boot in which the times hold */
	int64_t		deadline_boot_ns;	/* CLOCK_BOOTTIME at which the lease ends */
	int64_t		written_boot_ns;	/* both clocks when this was written, to
									 * see a paused machine: see unidesk-init */
	int64_t		written_realtime_ns;
	uint32_t	grace_s;		/* TERM to KILL when the lease is over, and,
								 * when not 0, after an announced TERM */
	uint32_t	reserved2;
} UdControl;

#endif							/* UD_RUN_FILES_H */
