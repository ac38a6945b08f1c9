"""Spells every Redis key of a pool, once; the scripts build the same names from the prefix `smalti:{<pool>}:`.

| key | type | holds |
|---|---|---|
| `meta` | hash | schema; last token, recovery, outage, turn, audit; jobs submitted; rate; recount; clocks; paused |
| `jobs`, `jobs:<client>` | zset | every job, and those of a client, by serial number, for List |
| `job:<id>` | hash | client, request, kept pixels, sizes, RPC; state, cursor, counts, reason, fingerprint, times |
| `totals` | hash | `jobs`, `paused`, `ready`, `running`, `pixels`, `bytes` of all, and `jobs <client>` … of each |
| `recount` | hash | the same, while `recount.lua` computes it again |
| `queued` | zset | jobs without a claimed sample so far, by submit time |
| `deadlines` | zset | jobs that have a deadline and were not stopped, by it |
| `webhooks` | zset | ended jobs whose clients are still to be told, by the time of the next try |
| `ready:<digest>:<class>:<client>` | zset | jobs with claimable samples, by their last turn, the oldest first |
| `turns:<digest>:<class>` | zset | clients with claimable samples, by their time |
| `share:<class>:<client>` | hash | `time`, and the digests in whose `turns` it is; for an hour if in none |
| `weights` | hash | weights of clients, where they are not 1 |
| `returned:<id>` | zset | samples given back or recovered, by committed rows |
| `suspects:<id>` | zset | samples with which a worker fell silent without progress, by crashes, then rows |
| `running:<id>` | set | samples that some worker holds |
| `sample:<id>:<i>` | hash | fingerprint, rows at its claim, last reported place, crashes, crash row, token of release |
| `pixels:<id>:<i>` | string | committed rows, only ever appended to |
| `result:<id>:<chunk>` | hash | index → outcome, token, log-probability, fingerprint, pixels or error; HSETNX |
| `kept:<id>:<chunk>` | hash | index → kept pixels of a sample that is not drawn (`kept.py`), where each has its own |
| `ended:<id>` | string | 4 bytes for each ended sample, in the order of ends: 2 · index + (1 if it succeeded) |
| `workers` | zset | workers by the end of their lease |
| `worker:<w>` | hash | fingerprint, digests, slots, last claim and its reply, suspect, times of classes, draining |
| `held:<w>` | zset | its samples, `<id>:<i>`, by their fencing tokens |
| `leaving` | zset | held samples that have left their workers' slots; all scores are 0 |
| `request:<hash of client>:<hash of request_id>` | string | job id and hash of the request |
| `deleted:<id>` | string | the call that deleted the job, for a minute |
| `chores` | zset | what a script left for `expire.lua` to do, by how much that is |
| `dropped:<set>:<id>` | set, zset | samples that are to be forgotten: the set of a job that was stopped |
| `expiry` | zset | `<id> <client>` of jobs that ended, by the end of their retention |
| `dead` | stream, capped | samples that failed: job, index, client, rows, error |
| `events` | stream, capped | hints to watchers |
| `bell`, `interactive` | stream, capped | hints to idle workers; to all workers: interactive samples wait |

The class is `interactive`, `standard` or `batch`. A client is the name in its token; without tokens it is empty. A
client's time is the number of pixels that it was given in a class, divided by its weight; the time of a class in a
worker is the same for what the worker took. A clock is the time of the last one served. The totals count jobs that
have not ended, the paused ones among them, their ready and running samples, their pixels to draw, and the bytes of all
jobs: of their records, of the results that they have or will have, and, until they end, of kept pixels of samples.
These are written before their job, and expire if it is not queued. A fresh sample (index ≥ next) has no other key, so
a million queued samples cost one hash. Times are milliseconds by Redis' clock.

The queue's promises, on a Redis that passes `QueueUpkeep.check`:

- A submit that was acknowledged survives a crash of Redis; the same request_id never makes two jobs.
- Every call may be sent twice: the second time has no further effect (redis-py sends again what timed out).
- Each sample is in one place: fresh, returned, suspect, running, done, failed or cancelled. No token is given twice.
- Only the holder of a sample's last token writes it; committed rows never change; a sample has one result.
- A worker that falls silent for a lease loses its samples, rows included, to others; an outage of Redis is not silence.
- A sample fails when three workers in a row fell silent with it without progress. After the first of these crashes it
  is a suspect until it has a new row. A worker has one suspect at most and draws it alone, so that no other sample is
  charged with its crashes.
- A job belongs to the client that submitted it. To others it looks like a job that does not exist.
- The totals change with the jobs, in the same scripts, and are computed again now and then.
- What no script would have left is found by the audit (auditing.py) within a minute or two, repaired and counted.
- A record of a job that somebody damaged concerns that job alone.
- Interactive samples are handed out first, up to the number that a worker keeps for them. Beyond it classes share each
  worker's pixels as 16 : 4 : 1 while they have samples for it, so none starves.
- In a class, clients with claimable samples share the pixels by their weights, whatever the number and size of their
  jobs. Who had nothing to claim has saved up nothing. A claim costs O(log n) in the number of clients and jobs.
- A cancelled job ends CANCELLED when its workers commit next or their leases end; ended samples stay.
- Of a paused job no sample is handed out. Its workers give back what they draw, with all rows, until it is resumed.
- A job that has not ended at its deadline is stopped in the same way, and ends FAILED.
- The end of a job with a webhook and the duty to tell of it are written together; it is forgotten with the job.
- After a job has ended, all its keys have a TTL.
- At its memory limit Redis refuses new jobs and claims. What runs is finished; everything can be read and freed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from redis.crc import key_slot

LAYOUT = "7"  # of the keys and their fields; raise it when they change
CHUNK = 1024  # results in one hash; shared.lua has the same number
KEPT_CHUNK = 8192  # samples whose own kept pixels are in one hash; likewise


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one pool. The braces in them keep them in one slot of a Redis cluster."""

    pool: str

    @property
    def prefix(self) -> str:
        return f"smalti:{{{self.pool}}}:"

    @property
    def slot(self) -> int:
        """The slot of a Redis cluster that holds all keys."""
        return key_slot(self.prefix.encode())

    @property
    def meta(self) -> str:
        return self.prefix + "meta"

    @property
    def kinds(self) -> Mapping[str, bytes]:
        """The keys that every pool has, and their types."""
        kinds = {
            b"hash": ("meta", "totals", "recount", "weights"),
            b"zset": ("jobs", "queued", "deadlines", "webhooks", "workers", "leaving", "chores", "expiry"),
            b"stream": ("dead", "events", "bell", "interactive"),
        }
        return {self.prefix + name: kind for kind, names in kinds.items() for name in names}

    @property
    def jobs(self) -> str:
        return self.prefix + "jobs"

    @property
    def totals(self) -> str:
        return self.prefix + "totals"

    @property
    def weights(self) -> str:
        return self.prefix + "weights"

    @property
    def workers(self) -> str:
        return self.prefix + "workers"

    @property
    def dead(self) -> str:
        return self.prefix + "dead"

    @property
    def events(self) -> str:
        return self.prefix + "events"

    @property
    def bell(self) -> str:
        return self.prefix + "bell"

    @property
    def interactive(self) -> str:
        return self.prefix + "interactive"

    @property
    def webhooks(self) -> str:
        return self.prefix + "webhooks"

    def job(self, job_id: str) -> str:
        return f"{self.prefix}job:{job_id}"

    def jobs_of(self, client: str) -> str:
        return f"{self.prefix}jobs:{client}"

    def running(self, job_id: str) -> str:
        return f"{self.prefix}running:{job_id}"

    def returned(self, job_id: str) -> str:
        return f"{self.prefix}returned:{job_id}"

    def suspects(self, job_id: str) -> str:
        return f"{self.prefix}suspects:{job_id}"

    def pixels(self, job_id: str, index: int) -> str:
        return f"{self.prefix}pixels:{job_id}:{index}"

    def result(self, job_id: str, index: int) -> str:
        """The chunk that holds the sample's result."""
        return f"{self.prefix}result:{job_id}:{index // CHUNK}"

    def kept(self, job_id: str, index: int) -> str:
        """The chunk that holds the sample's own kept pixels."""
        return f"{self.prefix}kept:{job_id}:{index // KEPT_CHUNK}"

    def ended(self, job_id: str) -> str:
        return f"{self.prefix}ended:{job_id}"


def request_key(client: str, request_id: str) -> str:
    """The key of a request_id, without prefix; empty if there is none. Hashed, because clients choose both words."""
    return f"request:{_short_hash(client)}:{_short_hash(request_id)}" if request_id else ""


def _short_hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:32]
