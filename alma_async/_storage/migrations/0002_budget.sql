-- The rate over machines: one institution's budget, who draws on it, and the one statement that is asked for slots.
-- _governance/postgres_budget.py says why.

-- What is kept of an institution: calls so far, and the day's figures as the clients reckon them.
CREATE TABLE alma_async.budget (
    institution text PRIMARY KEY,
    spent bigint NOT NULL DEFAULT 0 CHECK (spent BETWEEN 0 AND 1000000000000000),
    bulk bigint NOT NULL DEFAULT 0 CHECK (bulk BETWEEN 0 AND 1000000000000000),
    stopped_until double precision NOT NULL DEFAULT 0 CHECK (stopped_until BETWEEN 0 AND 100000000000),
    figures bytea,
    version bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 20);

-- The moment of the next slot, and what changes with it. Not logged: after a crash of the server, or on another one that took over
-- from it, the row is missing, and a missing row is an empty budget. Nothing of it can be older than what clients were told.
CREATE UNLOGGED TABLE alma_async.pace (
    institution text PRIMARY KEY,
    next_at double precision NOT NULL CHECK (next_at BETWEEN 0 AND 100000000000),
    hold_until double precision NOT NULL DEFAULT 0 CHECK (hold_until BETWEEN 0 AND 100000000000),
    urgent_until double precision NOT NULL DEFAULT 0 CHECK (urgent_until BETWEEN 0 AND 100000000000),
    asked_at double precision NOT NULL CHECK (asked_at BETWEEN 0 AND 100000000000),
    returned_at double precision NOT NULL DEFAULT 0 CHECK (returned_at BETWEEN 0 AND 100000000000),
    again_at double precision NOT NULL DEFAULT 0 CHECK (again_at BETWEEN 0 AND 100000000000),
    spent bigint NOT NULL CHECK (spent BETWEEN 0 AND 1000000000000000),
    bulk bigint NOT NULL CHECK (bulk BETWEEN 0 AND 1000000000000000),
    machines integer NOT NULL DEFAULT 1 CHECK (machines BETWEEN 1 AND 1000000),
    missing integer NOT NULL DEFAULT 0 CHECK (missing BETWEEN 0 AND 1000000),
    keeper text,
    kept_until double precision NOT NULL DEFAULT 0 CHECK (kept_until BETWEEN 0 AND 100000000000),
    answer jsonb
) WITH (fillfactor = 20);

-- Who draws on it: a process of a machine. Those of one machine have one rank.
CREATE TABLE alma_async.member (
    institution text,
    process text,
    machine text NOT NULL,
    name text NOT NULL,
    joined double precision NOT NULL,
    seen double precision NOT NULL,
    busy boolean NOT NULL,
    drawn bigint NOT NULL,
    PRIMARY KEY (institution, process)
) WITH (fillfactor = 20);

-- Slots for `who`, and what it has to say (`news`, all of it optional; every moment on this server's clock):
--   sent: when it asked; asked long ago, nobody waits for the answer any more, and nothing is done
--   machine, name, busy, drawn: it is here; leaving: it is not any more
--   back: it was without the store; lead: its slots are to be so many seconds away
--   hold: no slot before; stopped: nothing before; spent, bulk: calls to be added; answer: what the last answer taught
--   before, after: give back the end of its lease, while nobody came after
--   figures (an argument of its own) of the version `version`
CREATE FUNCTION alma_async.draw(
    whose text,
    who text,
    wanted integer,
    gap double precision,
    stamps integer,
    span double precision,
    urgent boolean,
    news jsonb,
    day bytea,
    OUT clock double precision,
    OUT late boolean,
    OUT lease integer,
    OUT first double precision,
    OUT step double precision,
    OUT calls bigint,
    OUT bulk_calls bigint,
    OUT held double precision,
    OUT again double precision,
    OUT stopped double precision,
    OUT of_machines integer,
    OUT rank integer,
    OUT keeps boolean,
    OUT kept_version bigint,
    OUT kept_day bytea,
    OUT taught jsonb
) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    p alma_async.pace;
    b alma_async.budget;
    others boolean;
BEGIN
    -- What a crash takes away is the last second: the pace is lost with it as a whole, and the figures correct themselves. In the
    -- statement itself, since a pooler keeps no setting of a session.
    PERFORM set_config('synchronous_commit', 'off', true);
    gap := least(greatest(gap, 0.0001), 3600);
    stamps := least(greatest(stamps, 0), 1000000);
    span := least(greatest(span, 1), 60);
    LOOP
        SELECT * INTO p FROM alma_async.pace WHERE institution = whose FOR UPDATE;
        EXIT WHEN FOUND;
        INSERT INTO alma_async.budget (institution) VALUES (whose) ON CONFLICT DO NOTHING;
        clock := alma_async.clock();
        -- Others may hold slots of which nothing is known any more.
        SELECT count(*) > 0 INTO others FROM alma_async.member
            WHERE institution = whose AND process <> who AND busy AND seen BETWEEN clock - 60 AND clock;
        INSERT INTO alma_async.pace (institution, next_at, asked_at, spent, bulk)
            SELECT whose, clock + CASE WHEN others THEN greatest(2, span) ELSE span END, clock, spent, bulk
            FROM alma_async.budget WHERE institution = whose
            ON CONFLICT DO NOTHING;
    END LOOP;
    clock := alma_async.clock();  -- under the row's lock: when the slots are given, not when they were asked for

    late := COALESCE(clock > (news->>'sent')::double precision + 0.5, false);
    lease := 0;
    IF late THEN
        RETURN;
    END IF;
    SELECT * INTO b FROM alma_async.budget WHERE institution = whose;
    IF NOT FOUND THEN
        INSERT INTO alma_async.budget (institution) VALUES (whose) RETURNING * INTO b;
    END IF;

    -- What is believed: a row can slow us, not for ever.
    p.hold_until := least(p.hold_until, clock + 3600);
    p.again_at := least(p.again_at, clock + 2);
    IF p.next_at > greatest(clock, p.hold_until) + 600 + 20 * gap THEN
        p.next_at := clock + span;
    END IF;

    -- What it says.
    IF p.next_at = (news->>'after')::double precision THEN
        p.next_at := least(p.next_at, (news->>'before')::double precision);
    END IF;
    p.hold_until := greatest(p.hold_until, least(COALESCE((news->>'hold')::double precision, 0), clock + 3600));
    p.spent := greatest(0, p.spent + COALESCE((news->>'spent')::bigint, 0));
    p.bulk := greatest(0, p.bulk + COALESCE((news->>'bulk')::bigint, 0));
    IF news ? 'answer' AND COALESCE((p.answer->>'sent_at')::double precision
            NOT BETWEEN (news->'answer'->>'sent_at')::double precision AND clock, true) THEN
        p.answer := news->'answer';
    END IF;
    -- Nobody has asked for a while: all of them go on without the store, and come back at the same moment.
    IF news ? 'back' AND p.asked_at < clock - 1 AND p.again_at <= clock THEN
        p.returned_at := clock;
        p.again_at := clock + 2;
    END IF;
    p.asked_at := clock;
    p.urgent_until := CASE WHEN urgent THEN clock + 1 ELSE least(p.urgent_until, clock + 1) END;

    -- Who is here.
    IF news ? 'machine' OR news ? 'leaving' THEN
        DELETE FROM alma_async.member WHERE institution = whose
            AND (seen NOT BETWEEN clock - 900 AND clock + 60 OR (process = who AND news ? 'leaving'));
        IF news ? 'machine' THEN
            INSERT INTO alma_async.member (institution, process, machine, name, joined, seen, busy, drawn)
                VALUES (whose, who, news->>'machine', news->>'name', clock, clock, (news->>'busy')::boolean, (news->>'drawn')::bigint)
                ON CONFLICT (institution, process) DO UPDATE
                SET seen = excluded.seen, busy = excluded.busy, drawn = excluded.drawn;
        END IF;
        SELECT greatest(count(*), 1),
               count(*) FILTER (WHERE m.busy AND (m.seen < clock - 8 OR (m.seen < p.returned_at AND clock >= p.again_at))),
               count(*) FILTER (WHERE (m.joined, m.machine) < (m.mine, news->>'machine'))
            INTO p.machines, p.missing, rank
            FROM (SELECT machine, min(joined) AS joined, max(seen) AS seen, bool_or(busy) AS busy,
                         (SELECT min(joined) FROM alma_async.member WHERE institution = whose AND machine = news->>'machine') AS mine
                  FROM alma_async.member WHERE institution = whose GROUP BY machine) AS m;
        b.stopped_until := least(greatest(b.stopped_until, COALESCE((news->>'stopped')::double precision, 0)), clock + 90000);
        UPDATE alma_async.budget SET spent = p.spent, bulk = p.bulk, stopped_until = b.stopped_until WHERE institution = whose;
    END IF;

    -- One of them keeps the day's figures: nobody's are written over.
    keeps := COALESCE(p.keeper = who, true) OR p.kept_until NOT BETWEEN clock AND clock + 3;
    IF keeps THEN
        p.keeper := who;
        p.kept_until := clock + 3;
        IF day IS NOT NULL AND (news->>'version')::bigint = b.version THEN
            UPDATE alma_async.budget SET figures = day, version = version + 1 WHERE institution = whose;
        END IF;
    END IF;
    kept_version := b.version + CASE WHEN keeps AND day IS NOT NULL AND (news->>'version')::bigint = b.version THEN 1 ELSE 0 END;
    kept_day := CASE WHEN (news->>'version')::bigint = b.version THEN NULL ELSE b.figures END;
    IF news ? 'leaving' AND p.keeper = who THEN
        p.keeper := NULL;
    END IF;

    -- The slots. Machines that are missing may be going on without the store, at their part of the rate.
    step := gap * p.machines / greatest(p.machines - p.missing, 1);
    IF wanted > 0 THEN
        first := greatest(p.next_at, clock + least(COALESCE((news->>'lead')::double precision, 0), 1), p.hold_until, p.again_at);
        lease := CASE WHEN p.urgent_until > clock OR first > clock + 3 THEN 1 ELSE least(wanted, 5) END;
        p.next_at := first + step * lease;
        p.spent := p.spent + lease * stamps;
    END IF;
    UPDATE alma_async.pace SET next_at = p.next_at, hold_until = p.hold_until, urgent_until = p.urgent_until, asked_at = p.asked_at,
        returned_at = p.returned_at, again_at = p.again_at, spent = p.spent, bulk = p.bulk, machines = p.machines, missing = p.missing,
        keeper = p.keeper, kept_until = p.kept_until, answer = p.answer
        WHERE institution = whose;

    calls := p.spent;
    bulk_calls := p.bulk;
    held := p.hold_until;
    again := p.again_at;
    stopped := b.stopped_until;
    of_machines := p.machines;
    taught := p.answer;
END
$$;
