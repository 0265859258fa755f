// What the drivers for Node.js have in common.
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';

// Packages are found in NODE_PATH, which import itself does not look at.
export const load = createRequire(`${process.env.NODE_PATH}/`);
export const sized = (full, quick) => (process.env.QUICK ? quick : full);
export const now = () => Number(process.hrtime.bigint()) / 1e6;
export const emit = (name, value, unit) =>
	console.log(JSON.stringify({ name, value: Number(value.toPrecision(6)), unit }));

// Microseconds of CPU of this process and of the server.
export function cpu() {
	const { user, system } = process.cpuUsage();
	let server = NaN;
	if (process.env.SERVER_CPU) {
		const text = readFileSync(process.env.SERVER_CPU, 'utf8');
		server = text.startsWith('usage_usec') ? Number(text.split(/\s+/)[1]) : Number(text) / 1e3;
	}
	return { client: user + system, server };
}

export function emitCpu(prefix, before, count) {
	const after = cpu();
	emit(`${prefix}_client_cpu_us_per_task`, (after.client - before.client) / count, 'us');
	if (!Number.isNaN(after.server)) {
		emit(`${prefix}_pg_cpu_us_per_task`, (after.server - before.server) / count, 'us');
		emit(`${prefix}_cpu_us_per_task`, (after.client - before.client + after.server - before.server) / count, 'us');
	}
}

export const percentile = (values, p) => {
	const sorted = [...values].sort((a, b) => a - b);
	return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))];
};
