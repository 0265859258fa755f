// pg-boss by its fastest way: fetch and complete 1000 jobs at a time in four
// lanes.  Its workers poll, twice a second at most, so latency is not compared.
import { load, sized, now, emit, cpu, emitCpu } from './node_peer.mjs';

const loaded = load('pg-boss');
const PgBoss = loaded.PgBoss ?? loaded.default ?? loaded;
const boss = new PgBoss({
	host: process.env.PGHOST, user: process.env.PGUSER, database: process.env.PGDATABASE,
	max: 10, supervise: false, schedule: false,
});
boss.on('error', (error) => console.error(error.message));
await boss.start();
await boss.createQueue('noop');

const count = sized(10000, 4000);
for (let i = 0; i < count; i += 2000)
	await boss.insert(Array.from({ length: 2000 }, () => ({ name: 'noop', data: {} })));

let done = 0;
async function lane() {
	for (;;) {
		const jobs = await boss.fetch('noop', { batchSize: 1000 });
		if (!jobs?.length)
			return;
		await boss.complete('noop', jobs.map((job) => job.id));
		done += jobs.length;
	}
}
const before = cpu(), began = now();
await Promise.all([lane(), lane(), lane(), lane()]);
if (done !== count)
	throw new Error(`${done} of ${count} jobs were done`);
emit('pgboss_tasks_per_s', count / ((now() - began) / 1e3), 'tasks/s');
emitCpu('pgboss', before, count);
await boss.stop({ graceful: false });
process.exit(0);
