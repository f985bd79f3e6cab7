-- A key is a job's own: another job's run under the same key is another run. And the same key with other parameters is rejected.
ALTER TABLE alma_async.continuation ADD COLUMN job_id text NOT NULL DEFAULT '', ADD COLUMN parameters text NOT NULL DEFAULT '';
UPDATE alma_async.continuation AS one SET job_id = coalesce(one.ended ->> 'job_id', (
    SELECT min(run.job_id) FROM alma_async.run WHERE run.instance_id = one.instance_id HAVING count(DISTINCT run.job_id) = 1
), '');
ALTER TABLE alma_async.continuation DROP CONSTRAINT continuation_pkey, ADD PRIMARY KEY (institution, job_id, key);
