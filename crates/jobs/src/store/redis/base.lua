-- Names of keys, a queue's rules, and the ways of a job between its phases. Everything here runs within one script, so
-- nobody sees a job between two of them.
--
--   KEYS[1]  the service's prefix; all keys begin with it, and it has a hash tag: they are in one slot of a cluster
--   ARGV     what is asked, the keeper, its session, and the question's own words as MessagePack
--
-- One prefix has these keys; SEQ is a job's number, PLACE is its priority and its number in one number:
--
--   seq, batch             counters                        j:SEQ      hash: the job
--   queues                 set of names                    i:ID       SEQ
--   q:QUEUE                hash: rules, switches, numbers  delayed    sorted set of SEQ by time
--   r:QUEUE:RANK           STREAM of what may start, group "tenfold"; what is leased is pending there
--   rs:QUEUE               sorted set of the ranks whose stream is not empty
--   w:LENGTH:QUEUE:KEY     sorted set of SEQ by PLACE: jobs that wait for their key
--   used:QUEUE             hash: key → jobs that have its places
--   blocked:QUEUE          set of keys that somebody waits for
--   live:QUEUE             sorted set of SEQ by SEQ        s:STATE:QUEUE, ended   sorted sets of ended jobs by time
--   u:LENGTH:QUEUE:WORD    the id that holds the word      b:BATCH    hash
--   alive, session, workers, fired, tended, grace          what the keepers know of each other

local P = KEYS[1] .. ':'
local asked, keeper, session = ARGV[1], ARGV[2], ARGV[3]
local call = redis.call
local clock = call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local J = {}
local specs = {}
-- Something may start now that could not before.
local rang = false

-- Jobs that are held although they were never taken from a stream: see J.seize.
local HELD = 512
-- Jobs whose time has come that are moved at once: a script holds everybody else up.
local WAKE_MAX = 1000

local function num(text)
  return tonumber(text) or 0
end

local function queue_key(queue)
  return P .. 'q:' .. queue
end

local function job_key(seq)
  return P .. 'j:' .. seq
end

-- A key of a queue and a word of a user's, which may have colons in them.
local function pair(kind, queue, word)
  return P .. kind .. ':' .. #queue .. ':' .. queue .. ':' .. word
end

local function add(queue, field, count)
  call('HINCRBY', queue_key(queue), field, count)
end

-- The rules of a queue; a queue that nobody has described has the defaults.
function J.spec(queue)
  local spec = specs[queue]
  if not spec then
    local key = queue_key(queue)
    if call('HEXISTS', key, 'capacity') == 0 then
      call('SADD', P .. 'queues', queue)
      call('HSET', key, 'capacity', 100000, 'bytes_max', 268435456, 'dead_max', 10000, 'crashes_max', 5)
    end
    local got = call('HMGET', key, 'capacity', 'bytes_max', 'dead_max', 'crashes_max', 'drop_oldest', 'rate', 'per_key',
      'ordered', 'paused', 'draining')
    spec = {
      capacity = num(got[1]), bytes_max = num(got[2]), dead_max = num(got[3]), crashes_max = num(got[4]),
      drop_oldest = got[5] == '1', rate = num(got[6]), per_key = num(got[7]), ordered = got[8] == '1',
      paused = got[9] == '1', draining = got[10] == '1',
    }
    spec.bound = (spec.ordered and 1) or (spec.per_key > 0 and spec.per_key) or nil
    specs[queue] = spec
  end
  return spec
end

-- What the ways below need of a job; nil where there is none.
function J.load(seq)
  local got = call('HMGET', job_key(seq), 'queue', 'phase', 'priority', 'key', 'attempt', 'crashes', 'bytes', 'slot', 'rank',
    'entry', 'by', 'batch', 'state', 'word', 'until', 'id')
  if not got[1] then
    return nil
  end
  return {
    seq = seq, queue = got[1], phase = got[2], priority = num(got[3]), key = got[4], attempt = num(got[5]),
    crashes = num(got[6]), bytes = num(got[7]), slot = got[8] == '1', rank = got[9], entry = got[10], by = got[11],
    batch = got[12], state = num(got[13]), word = got[14], held_until = num(got[15]), id = got[16],
  }
end

-- Who comes first: higher priorities, then earlier arrivals. Exact in a double: 8 bits and 45.
local function place(job)
  return (127 - job.priority) * 35184372088832 + job.seq
end

-- It may start: behind all others of its priority, or, where it was there before, before them.
function J.ready(job, front)
  local rank = 2 * (127 - job.priority) + (front and 0 or 1)
  local stream = P .. 'r:' .. job.queue .. ':' .. rank
  local entry = call('XADD', stream, '*', 's', job.seq)
  if call('ZADD', P .. 'rs:' .. job.queue, rank, rank) == 1 then
    call('XGROUP', 'CREATE', stream, 'tenfold', '0')
  end
  call('HSET', job_key(job.seq), 'phase', 'ready', 'rank', rank, 'entry', entry)
  add(job.queue, 'ready', 1)
  rang = true
end

-- As many jobs of a key as it has places for.
function J.promote(queue, key)
  local bound = J.spec(queue).bound or math.huge
  local waiting, used = pair('w', queue, key), num(call('HGET', P .. 'used:' .. queue, key))
  while used < bound do
    local first = call('ZPOPMIN', waiting)
    if not first[1] then
      call('SREM', P .. 'blocked:' .. queue, key)
      return
    end
    used = call('HINCRBY', P .. 'used:' .. queue, key, 1)
    add(queue, 'blocked', -1)
    local job = J.load(first[1])
    call('HSET', job_key(job.seq), 'slot', 1)
    J.ready(job, job.attempt > 0)
  end
end

-- It may start as far as time is concerned.
function J.arrive(job)
  if job.key and not job.slot and J.spec(job.queue).bound then
    call('HSET', job_key(job.seq), 'phase', 'blocked')
    call('ZADD', pair('w', job.queue, job.key), place(job), job.seq)
    call('SADD', P .. 'blocked:' .. job.queue, job.key)
    add(job.queue, 'blocked', 1)
    J.promote(job.queue, job.key)
  else
    J.ready(job, job.attempt > 0)
  end
end

-- It may not start before.
function J.delay(job, run_at)
  call('HSET', job_key(job.seq), 'phase', 'delayed', 'run_at', run_at)
  call('ZADD', P .. 'delayed', run_at, job.seq)
  add(job.queue, 'delayed', 1)
end

-- Takes it out of whatever it is in.
function J.leave(job)
  if job.phase == 'delayed' then
    call('ZREM', P .. 'delayed', job.seq)
    add(job.queue, 'delayed', -1)
  elseif job.phase == 'blocked' then
    call('ZREM', pair('w', job.queue, job.key), job.seq)
    add(job.queue, 'blocked', -1)
  elseif job.phase == 'ready' or job.phase == 'leased' then
    local stream = P .. 'r:' .. job.queue .. ':' .. job.rank
    call('XACK', stream, 'tenfold', job.entry)
    call('XDEL', stream, job.entry)
    if call('XLEN', stream) == 0 then
      call('DEL', stream)
      call('ZREM', P .. 'rs:' .. job.queue, job.rank)
    end
    call('HDEL', job_key(job.seq), 'rank', 'entry', 'by')
    add(job.queue, job.phase, -1)
  end
end

-- Gives the place of its key to the next one.
function J.release(job)
  if job.slot then
    call('HDEL', job_key(job.seq), 'slot')
    if call('HINCRBY', P .. 'used:' .. job.queue, job.key, -1) <= 0 then
      call('HDEL', P .. 'used:' .. job.queue, job.key)
    end
    job.slot = false
    J.promote(job.queue, job.key)
  end
end

-- A leased job goes back to where it was, and keeps the place of its key.
function J.give_back(job)
  J.leave(job)
  J.ready(job, true)
end

-- Jobs whose time has come.
function J.wake()
  for _, seq in ipairs(call('ZRANGEBYSCORE', P .. 'delayed', '-inf', now, 'LIMIT', 0, WAKE_MAX)) do
    local job = J.load(seq)
    if job then
      J.leave(job)
      J.arrive(job)
    else
      call('ZREM', P .. 'delayed', seq)
    end
  end
end

-- Forgets an ended job.
function J.forget(seq)
  local got = call('HMGET', job_key(seq), 'id', 'queue', 'state')
  if got[1] then
    call('DEL', job_key(seq), P .. 'i:' .. got[1])
    call('ZREM', P .. 's:' .. got[3] .. ':' .. got[2], seq)
  end
  call('ZREM', P .. 'ended', seq)
end

-- A live job is over, in whatever phase it is. States: 1 done, 2 dead, 3 cancelled.
function J.finish(job, state, reason)
  J.leave(job)
  call('ZREM', P .. 'live:' .. job.queue, job.seq)
  add(job.queue, 'live', -1)
  add(job.queue, 'bytes', -job.bytes)
  local key = job_key(job.seq)
  call('HSET', key, 'state', state, 'ended', now)
  call('HDEL', key, 'phase')
  if reason then
    call('HSET', key, 'error', reason)
  end
  if state == 1 then
    -- It is there for its id and its history.
    call('HSET', key, 'payload', '')
  end
  call('ZADD', P .. 's:' .. state .. ':' .. job.queue, now, job.seq)
  if state == 2 then
    J.bound_dead(job.queue)
  else
    call('ZADD', P .. 'ended', now, job.seq)
  end
  J.release(job)
  if job.word then
    local word = pair('u', job.queue, job.word)
    if call('GET', word) == job.id then
      if job.held_until > now then
        call('PEXPIREAT', word, job.held_until)
      else
        call('DEL', word)
      end
    end
  end
  if job.batch then
    J.tick_batch(job.batch, state ~= 1)
  end
end

function J.bound_dead(queue)
  local dead = P .. 's:2:' .. queue
  while call('ZCARD', dead) > J.spec(queue).dead_max do
    J.forget(call('ZRANGE', dead, 0, 0)[1])
  end
end

-- Notes what has become of a run, for people: the latest 20, of each about 300 bytes, cut where a character ends.
function J.remember(seq, what)
  local last = 300
  while last < #what and string.byte(what, last + 1) >= 128 and string.byte(what, last + 1) < 192 do
    last = last - 1
  end
  local key = job_key(seq)
  local known = call('HGET', key, 'history')
  local all = known and cjson.decode(known) or {}
  all[#all + 1] = { at_ms = now, what = string.sub(what, 1, last) }
  if #all > 20 then
    table.remove(all, 1)
  end
  call('HSET', key, 'history', cjson.encode(all))
end

function J.die(job, reason)
  add(job.queue, 'died', 1)
  J.remember(job.seq, reason)
  J.finish(job, 2, reason)
end

-- Its worker has died while it ran.
function J.crash(job)
  local crashes = call('HINCRBY', job_key(job.seq), 'crashes', 1)
  add(job.queue, 'crashed', 1)
  if crashes >= J.spec(job.queue).crashes_max then
    J.die(job, 'its worker died ' .. crashes .. ' times while it ran')
  else
    call('HSET', job_key(job.seq), 'error', 'its worker died')
    J.remember(job.seq, 'its worker died')
    J.give_back(job)
  end
end
