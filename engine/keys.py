"""Every Redis key, with type, life, writer, reader and reason; and the names of Celery queues and tasks.

Keys of one shard start with `rm:{<shard>}:`, so that a shard is one slot of a Redis Cluster. <d> is a direction, `in` or `out`;
<ref> names a conversation (`<tenant digest>.<conversation digest>`); <id> names a message (`<digest>-<shard>`).

| key of a shard | type | lives | written by | read by | because |
|---|---|---|---|---|---|
| `<d>:q:<ref>` | list | while not empty | accept, commit, amend, cancel | claim, commit, sweep | the lane: header line and opaque body of each message |
| `<d>:l:<ref>` | hash | until the lane is empty | claim, release, sweep, intend | the same | `t` lease token, `x` its end, `f` `q` first fragment since and end of its quiet period, `a` failed attempts, `p` aside as `suspect` or `spent`, `d` deferred, `w` why attempts failed, `i` `j` intended delivery and the token it was intended under |
| `<d>:ready:<tenant>` | zset by deadline | while not empty | all that move lanes | claim, sweep | lanes of one tenant that may be claimed |
| `<d>:ring` | zset by tokens | while not empty | the same | claim | tenants with a ready lane, by the tokens they have taken |
| `<d>:paid` | zset by tokens | while the ring is not empty | the same | the same | tenants that left the ring ahead of the others: they come back where they left |
| `<d>:soonest` | zset by time | while not empty | the same | sweep | tenants in the ring, by a deadline no later than their first lane's |
| `<d>:suspect` | zset by deadline | while not empty | the same | claim, sweep | lanes on their last attempt, which a worker takes alone |
| `<d>:spent` | zset by deadline | while not empty | the same | sweep | lanes without attempts left, which need an outcome |
| `<d>:due` | zset by time | while not empty | the same | claim, sweep | lanes that wait for a time: quiet period, retry, rate limit |
| `<d>:newer` | zset by time | ten seconds after its last entry | release | status | lanes given back because a newer version wrote their head, and until when that counts |
| `<d>:leased` | zset by time | while not empty | claim, renew, intend, commit | sweep | leased lanes by the end of the lease; inbound ones by the head's deadline if it is first |
| `<d>:heads` | zset by time | while not empty | the same | backlog | received_at of each head, deferred lanes apart: the age of the backlog |
| `<d>:stats` | hash | always | all that add or remove | backlog, claim | `messages`, and `deferred` of them; `clock` of the ring; `rest` where lanes other than suspects are next |
| `<d>:tenants` | hash | while not empty | the same | accept, web | messages waiting per tenant, for its limit and for what awaits it |
| `<d>:bell` | list | at most 64 | all that make a lane ready | waiting claims | wakes a waiting worker |
| `d:<digest>` | string | the platform's dedupe time | accept, notify | accept, amend, look | recognises a repeat; holds the lane, so a message can be found |
| `x:<digest>` | string | an hour | amend, cancel | accept | an edit or a deletion that came before its message |
| `m:<id>` | hash | `record_ttl` | commit, cancel, stop, accept, notify | look | state, reply and timings of an answered message |
| `h:<ref>` | list | `history_ttl` | commit, accept, notify, hand | claim, recall | turns of the conversation, oldest first |
| `r:<ref>` | zset by end of life, at most 1,000 | as long as the last of them | commit | notify | ids of the records and dead letters of a conversation, so that they can be forgotten |
| `o:<ref>` | string | `history_ttl`, or a day longer than people are waited for | own, notify, hand, commit, accept | the same, claim | the owner, where it is not the bot |
| `g:<ref>` | hash | as long as the owner | the same | watch | since when and why the bot is not the owner, its address, the user's language, whether people are reached by the bridge |
| `handed` | zset by time | while not empty | the same, escalate | watch | conversations that people have, by the time at which somebody must look whether anybody cares |
| `n:<ref>` | string | ten minutes | accept | accept | the notice that the lane is full was sent |
| `w:<ref>` | string | ten minutes | accept | accept | the person was told of the long wait |
| `p:<ref>` | string | as long as the pause | accept | accept | the notice that the bot pauses was sent |
| `b:<ref>` | string | a minute | commit | accept | replies of the bot in this minute: two bots that answer each other stop |
| `y:<ref>` | string | an hour | commit | accept | replies of the bot in this hour: so do two that are slow |
| `v:<id>` | hash | `feedback_ttl` | rate | look | what the person thinks of the reply: `up` or `down` |
| `t:<tenant>` | string, at most 16 kB | `trace_ttl` after its last event | all moves of its messages | trail | the trace of a conversation, a line for each event |
| `mark` | string, empty | always | moves that wait for the disk | nobody | a write of their own for WAITAOF to wait for: see `engine.durability` |
| `fence` | string | always | claim, commit, bury | claim | counts leases, with a random nonce it makes the token; and dead letters, which it puts in order |
| `dead` | zset by time, at most 10,000 | always | commit, bury, replay, discard | list of dead letters | index of the dead letters |
| `dead:<id>` | hash | `dead_ttl` | commit, bury, correct | list of dead letters, replay | reason, attempts, what was tried, and bytes of a dead letter |

| key of a bucket, after `rm:limit:{<digest>}:` | type | lives | written by | read by | because |
|---|---|---|---|---|---|
| `g` | list of times | its period | take | take | when the last places were given, at most as many as the limit allows |
| `t:<delivery>` | string | its wait and two seconds | take | take | the place that a waiting delivery has |
| `b` | string | as long as it says | block | take | the platform asked us to wait until then |

| key of a knowledge base, after `rm:kb:{<tenant>}:` | type | lives | written by | read by | because |
|---|---|---|---|---|---|
| `draft` | hash | while not empty | adopt | `replymill kb`, indexing, publish | digest of each document's name and its id |
| `docs` | set | while not empty | adopt, publish | indexing, sweep of the scripts | ids of the documents that the draft or a version has |
| `doc:<id>` | hash | a day; once adopted, while the draft or a version has it | `replymill kb add`, indexing | indexing, answering | `m` what it is, `p:<i>` its passages, `x:<encoder>:<i>` their vectors: opaque bytes, some hundred passages each |
| `now` | string | always | publish, rollback | answering | number of the version that is used: changing it is publishing |
| `next` | string | always | publish | publish | counts versions |
| `versions` | hash | the newest `kb_versions` | publish | rollback, answering | number of each version, and of the one that it replaced |
| `v:<number>` | hash | the same | publish | answering, `replymill kb` | `body` what a version is, `ids` its documents |
| `lent` | zset by time | while not empty | lend | publish | versions that a worker is loading, and until when they stay |
| `name` | string, opaque | always | adopt | doctor | whose base it is |
| `lease` | string | half a minute, renewed | indexing | indexing, `replymill kb` | one process alone indexes a base |
| `job` | hash | a day | indexing | `replymill kb`, doctor | how far indexing is, or why it failed |

| other key | type | lives | written by | read by | because |
|---|---|---|---|---|---|
| `rm:ready` | string | ten seconds | web | nobody | whether Redis takes writes, for `/readyz` |
| `rm:meta` | hash | always | first start | every start | shard count and fingerprint of the secret key, which cannot change |
| `rm:cache:<tenant>:<digest>` | string | `cache_ttl` | responder | responder | a reply to reuse |
| `rm:cache-stats:<tenant>` | hash | always | responder | status | hits and misses |
| `rm:near:{<partition>}:entries` | hash | `near_ttl` after its last entry | answering, a person's commands | answering | near matches: questions with the key of their answer, reply and vector |
| `rm:near:{<partition>}:ages` | zset by time | the same | the same | the same | which entries leave when they are too many or too old |
| `rm:near:{<partition>}:log` | stream, about 20,000 | the same | the same | answering, each second | ids of entries that came or went, for the workers' memories |
| `rm:near:{<partition>}:wrong` | zset by time, at most 10,000 | `near_ttl` after its last one | answering | answering | entries whose answer was wrong: their questions are not kept again |
| `rm:near-state:<tenant>` | hash | always | answering | answering, status | hits and misses of near matches, and comparisons right and wrong by class of probability |
| `rm:near-behind:<message>` | string | `feedback_ttl` | answering | answering | the entry behind the reply to a message, for a thumb down |
| `rm:disliked` | list, at most 10,000 | while not empty | web | answering | ids of messages whose reply got a thumb down |
| `rm:page:<session>` | stream | an hour | delivery to the chat page | web | replies of one browser tab, kept for a reconnect |
| `rm:acted:<id>:<tool>` | string | the deadlines of a message and two leases | answering | answering | a tool that changes something was called for a message, and how that ended: it is not called twice |
| `rm:progress:<session>` | channel | - | answering | web | the reply while it is generated |
| `rm:live` | zset | while not empty | answering | delivery | turns whose reply is being made, each once: there is something to show |
| `rm:live:<id>` | string | a minute | answering | delivery | the text so far of the reply to a turn |
| `rm:models` | hash | always | answering, at start | trace | names of the models by their number in traces |
| `rm:figures` | list | 240 samples | the figures job | status | how the backlog went over the last hour |
| `rm:celery:*` | Celery's own | - | kombu | kombu | jobs and remote control |
| `rm:slack:installed:<digest>` | string, sealed | until uninstalled | web, delivery | the same | a Slack app's installation in one workspace, with its tokens |
| `rm:slack:state:<digest>` | string | ten minutes | web | web | an installation that has begun: its state is good once |
| `rm:slack:rotating:<digest>` | string | two minutes | delivery | delivery | one process alone refreshes the tokens of an installation |
| `rm:slack:gone:<digest>` | string | a day | web | web | an event that said an app was uninstalled; sent again it says nothing |
| `rm:slack:thread:<digest>` | string | 30 days, renewed | web | web | a thread in a channel that the bot is part of |
| `rm:slack:below:<digest>` | string | twice the deadlines of a message | web | showing, delivery | the message of a direct message below which its reply goes |
| `rm:slack:stream:<digest>` | hash | an hour | showing, delivery | the same | the message in which a reply is shown while it is made |
| `rm:poller:<digest>` | string | half a minute, renewed | web | web | one process alone polls a Telegram bot |
| `rm:poller-trouble:<digest>` | string | a minute | web | doctor | what Telegram said to a poll of a bot that failed |
| `rm:bridge:from:<digest>` | string | 30 days, renewed | delivery | web | the conversation that a thread behind the bridge is about |
| `rm:bridge:to:<digest>` | string | 30 days, renewed | delivery, web | delivery | the thread behind the bridge of a conversation |
| `rm:bridge:topic:<digest>` | string | an hour | delivery | delivery | the topic that was opened for a hand-over whose first message is not posted yet |
| `rm:bridge:opening` | zset by time | while not empty | delivery | web | threads that may be there already, though nobody knows yet what they are about |
| `rm:kb:bases` | set | always | adopt | answering, doctor | digests of the tenants that have a knowledge base |
| `rm:kb:changes` | string | always | publish, rollback | answering | counts changes: whoever reads another number looks which version each base has |
| `rm:kb:wanted` | set | while not empty | adopt, answering | indexing | digests of the tenants whose base has something to index |
| `rm:vectors:names` | zset by time, on the vector server | while not empty | publish | publish | names of the indexes there, so that those of no version can be dropped |
| `rm:vectors:{<name>}:set` | vector set, on the vector server | while a version has it | publish | answering | vectors of one version, by numbers of passage and text |
| `rm:vectors:{<name>}:rows` | hash, on the vector server | the same | publish | answering | its passages with their vectors: opaque bytes, by number |
| `rm:gaps` | hash | always | answering, web | `replymill gaps` | names of the lists of gaps, and the tenant of each |
| `rm:gaps:<tenant>` | list, at most `gaps_kept` | `gaps_ttl` after the last of them | answering, web | `replymill gaps` | questions that were not answered well, without personal data |
| `rm:workers` | set | while not empty | loops | status, web, answering | names of the workers, so that nobody looks through every key for them |
| `rm:worker:<name>` | hash | ten seconds | loops | the same | what a worker does and how fast |
"""

from dataclasses import dataclass
from enum import StrEnum

#: First start records here what can never change.
META = "rm:meta"
#: Written to see whether Redis takes writes.
READY = "rm:ready"
#: Celery queue of the periodic and one-off jobs, the only queue that is consumed.
JOBS_QUEUE = "replymill.jobs"
#: Celery queue that loop workers listen to and nothing is sent to: a Redis outage with work at hand would end them.
IDLE_QUEUE = "replymill.idle"
#: Celery queue of the indexing of knowledge bases; the jobs worker consumes it too, and another may alone.
INDEXING_QUEUE = "replymill.indexing"
#: Prefix of everything Celery and kombu keep.
CELERY_PREFIX = "rm:celery:"
#: Turns of which there is something to show.
LIVE = "rm:live"
#: Names of the models by their number in traces.
MODELS = "rm:models"
#: Lists of questions that were not answered well.
GAPS = "rm:gaps"
CACHE_PATTERN = "rm:cache:*"
CACHE_STATS_PATTERN = "rm:cache-stats:*"
NEAR_PATTERN = "rm:near:*:entries"
NEAR_STATE_PATTERN = "rm:near-state:*"
#: Ids of messages whose reply got a thumb down, and how many are kept.
DISLIKED, MOST_DISLIKED = "rm:disliked", 10_000
#: Names of the workers there are.
WORKERS = "rm:workers"
#: Samples of the backlog, newest first.
FIGURES = "rm:figures"
#: Threads behind the bridge that are being opened.
BRIDGE_OPENING = "rm:bridge:opening"
RETENTION_TASK = "replymill.retention"
FIGURES_TASK = "replymill.figures"
INDEXING_TASK = "replymill.indexing"
#: Tenants that have a knowledge base, how often one was changed, and those that have something to index.
KNOWLEDGE_BASES = "rm:kb:bases"
KNOWLEDGE_CHANGES = "rm:kb:changes"
KNOWLEDGE_WANTED = "rm:kb:wanted"


class Direction(StrEnum):
    """Which of the two lanes of a conversation."""

    #: From people to Replymill.
    IN = "in"
    #: From Replymill to a platform.
    OUT = "out"


@dataclass(frozen=True)
class Shard:
    """Keys of one shard that Python touches itself; all others are made inside the scripts from `prefix`."""

    number: int
    #: What is acknowledged to a platform is on the disk.
    durable: bool = False

    @property
    def prefix(self) -> str:
        return f"rm:{{{self.number}}}:"

    @property
    def mark(self) -> str:
        return f"{self.prefix}mark" if self.durable else ""

    def bell(self, direction: Direction) -> str:
        return f"{self.prefix}{direction}:bell"

    def newer(self, direction: Direction) -> str:
        return f"{self.prefix}{direction}:newer"

    def tenants(self, direction: Direction) -> str:
        return f"{self.prefix}{direction}:tenants"

    def history(self, ref: str) -> str:
        return f"{self.prefix}h:{ref}"

    def owner(self, ref: str) -> str:
        return f"{self.prefix}o:{ref}"

    @property
    def dead_index(self) -> str:
        return f"{self.prefix}dead"

    def dead(self, letter: str) -> str:
        return f"{self.prefix}dead:{letter}"


@dataclass(frozen=True)
class Bucket:
    """Keys of one rate limit, in a slot of their own."""

    digest: str
    mark = ""

    @property
    def prefix(self) -> str:
        return f"rm:limit:{{{self.digest}}}:"


@dataclass(frozen=True)
class Base:
    """Keys of one knowledge base, in a slot of their own."""

    #: Digest of the tenant.
    digest: str
    mark = ""

    @property
    def prefix(self) -> str:
        return f"rm:kb:{{{self.digest}}}:"

    def key(self, name: str) -> str:
        """`draft`, `docs`, `now`, `versions`, `lent`, `name`, `lease` or `job`."""
        return f"{self.prefix}{name}"

    def document(self, document: str) -> str:
        return f"{self.prefix}doc:{document}"

    def version(self, number: int) -> str:
        return f"{self.prefix}v:{number}"


#: Names of the indexes on the vector server.
VECTOR_NAMES = "rm:vectors:names"


def vectors(name: str, part: str) -> str:
    """`set` or `rows` of one index on the vector server."""
    return f"rm:vectors:{{{name}}}:{part}"


@dataclass(frozen=True)
class NearPartition:
    """Keys of the near matches of one tenant, bot, language, model and prompt, in one slot."""

    digest: str

    @classmethod
    def of(cls, name: bytes) -> "NearPartition":
        """The partition that a key belongs to."""
        return cls(name.decode().partition("{")[2].partition("}")[0])

    def key(self, part: str) -> str:
        """`entries`, `ages`, `log` or `wrong`."""
        return f"rm:near:{{{self.digest}}}:{part}"


def near(kind: str, digest: str) -> str:
    """`state` of a tenant, or what is `behind` the reply to a message."""
    return f"rm:near-{kind}:{digest}"


def cached_reply(tenant: str, digest: str) -> str:
    """`tenant` is a digest too."""
    return f"rm:cache:{tenant}:{digest}"


def cache_stats(tenant: str) -> str:
    """`tenant` is a digest."""
    return f"rm:cache-stats:{tenant}"


def gaps(tenant: str) -> str:
    """`tenant` is a digest."""
    return f"{GAPS}:{tenant}"


def page(session: str) -> str:
    """Stream of one browser tab or console; `session` is random and known to it alone."""
    return f"rm:page:{session}"


def acted(message: str, tool: str) -> str:
    """What became of a tool that a message called; `message` is its id."""
    return f"rm:acted:{message}:{tool}"


def progress(session: str) -> str:
    """Channel with the reply to `session` while it is generated."""
    return f"rm:progress:{session}"


def live(turn: str) -> str:
    """The text so far of the reply to a turn."""
    return f"rm:live:{turn}"


def worker(name: str) -> str:
    """Figures of one worker."""
    return f"rm:worker:{name}"


def slack(kind: str, digest: str) -> str:
    """What Slack's part keeps: `installed`, `state`, `rotating`, `gone`, `thread`, `below` or `stream`."""
    return f"rm:slack:{kind}:{digest}"


def bridge(kind: str, digest: str) -> str:
    """What the bridge keeps: `from`, `to` or `topic`."""
    return f"rm:bridge:{kind}:{digest}"


def poller(digest: str) -> str:
    """Lock of the process that polls a bot of Telegram."""
    return f"rm:poller:{digest}"


def poller_trouble(digest: str) -> str:
    """What went wrong when a bot of Telegram was polled."""
    return f"rm:poller-trouble:{digest}"
