-- After all tests: the invariants hold, but for the difference that memory.sql makes on purpose.
SELECT unidesk._tidy();
SELECT * FROM unidesk.check_invariants() WHERE code <> 'worker_memory';
