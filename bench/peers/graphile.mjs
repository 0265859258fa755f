// graphile-worker: with the preset that its authors publish as its fastest (a
// local queue of 500, completion in batches) and with its defaults.  Prefilled
// queue, drain only; submitted to a running worker, first add to last end; and
// the time from adding one job on an idle system to its start.
import { load, sized, now, emit, cpu, emitCpu, percentile } from './node_peer.mjs';

const { run, runMigrations, Logger } = load('graphile-worker');
const { Pool } = load('pg');
const logger = new Logger(() => () => {});
const pgPool = new Pool({ max: 30 });
pgPool.on('error', (error) => console.error(error.message));
await runMigrations({ pgPool, logger });

const presets = {
	best: { worker: { concurrentJobs: 24, pollInterval: 2000, localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 } },
	default: { worker: { concurrentJobs: 24, pollInterval: 2000 } },
};
const addMany = `SELECT count(*) FROM graphile_worker.add_jobs((SELECT array_agg(
	row('noop', '{}'::json, NULL, NULL, NULL, NULL, NULL, NULL)::graphile_worker.job_spec) FROM generate_series(1, $1)))`;

let left = 0, finished, started;
const taskList = {
	noop: () => { if (--left === 0) finished(); },
	timed: () => started(now()),
};
const work = (preset) => run({ pgPool, taskList, noHandleSignals: true, logger, preset });
const all = (count) => { left = count; return new Promise((resolve) => { finished = resolve; }); };
async function add(count) {
	for (let i = 0; i < count; i += 1000)
		await pgPool.query(addMany, [Math.min(1000, count - i)]);
}

async function drain(mode, count) {
	await add(count);
	await pgPool.query('VACUUM ANALYZE graphile_worker._private_jobs');
	const end = all(count);
	const before = cpu(), began = now();
	const runner = await work(presets[mode]);
	await end;
	emit(`graphile_${mode}_tasks_per_s`, count / ((now() - began) / 1e3), 'tasks/s');
	await runner.stop();
	emitCpu(`graphile_${mode}`, before, count);
}

async function submitToDone(mode, count) {
	const runner = await work(presets[mode]);
	const end = all(count);
	const began = now();
	await add(count);
	await end;
	emit(`graphile_${mode}_submit_to_done_per_s`, count / ((now() - began) / 1e3), 'tasks/s');
	await runner.stop();
}

async function latency(count) {
	// Its defaults start a single job sooner than its local queue does.
	const runner = await work({ worker: { concurrentJobs: 4, pollInterval: 2000 } });
	const fromCall = [], fromCommit = [];
	for (let i = -10; i < count; i++) {
		const start = new Promise((resolve) => { started = resolve; });
		const called = now();
		await pgPool.query("SELECT graphile_worker.add_job('timed', '{}'::json)");
		const committed = now(), at = await start;
		if (i >= 0) {
			fromCall.push(at - called);
			fromCommit.push(Math.max(at - committed, 0.001));
		}
	}
	emit('graphile_call_to_start_p50_ms', percentile(fromCall, 0.5), 'ms');
	emit('graphile_call_to_start_p99_ms', percentile(fromCall, 0.99), 'ms');
	emit('graphile_commit_to_start_p50_ms', percentile(fromCommit, 0.5), 'ms');
	emit('graphile_commit_to_start_p99_ms', percentile(fromCommit, 0.99), 'ms');
	await runner.stop();
}

await drain('best', sized(20000, 6000));
await submitToDone('best', sized(20000, 6000));
await drain('default', sized(2500, 800));
await latency(sized(300, 100));
await pgPool.end();
process.exit(0);
