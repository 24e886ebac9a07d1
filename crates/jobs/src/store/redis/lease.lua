-- Giving jobs out, and what becomes of them. A lease is an entry that is pending for a keeper in a stream's group. It holds for
-- as long as its keeper is alive: keepers say so all the time, and the leases of one that does not go back.

-- Takes up to `room` jobs of a queue for this keeper.
function J.take(queue, room, leases)
  local spec = J.spec(queue)
  if spec.paused or room < 1 then
    return nil
  end
  local got = call('HMGET', queue_key(queue), 'ready', 'tokens', 'filled')
  if num(got[1]) < 1 then
    return nil
  end
  local tokens, most = nil, room
  if spec.rate > 0 then
    local passed = math.max(0, now - num(got[3])) / 1000
    tokens = math.min(num(got[2]) + passed * spec.rate, math.max(spec.rate, 1))
    most = math.min(room, math.floor(tokens))
  end
  local taken = 0
  for _, rank in ipairs(call('ZRANGE', P .. 'rs:' .. queue, 0, -1)) do
    if taken >= most then
      break
    end
    if num(rank) ~= HELD then
      local stream = P .. 'r:' .. queue .. ':' .. rank
      local new = call('XREADGROUP', 'GROUP', 'tenfold', keeper, 'COUNT', most - taken, 'STREAMS', stream, '>')
      for _, entry in ipairs(new and new[1][2] or {}) do
        local seq = entry[2][2]
        local job = call('HMGET', job_key(seq), 'id', 'name', 'payload', 'attempt', 'created')
        call('HSET', job_key(seq), 'phase', 'leased', 'by', keeper, 'progress', 0)
        leases[#leases + 1] = { num(seq), job[1], queue, job[2], job[3], num(job[4]), num(job[5]) }
        taken = taken + 1
      end
    end
  end
  add(queue, 'ready', -taken)
  add(queue, 'leased', taken)
  if tokens then
    tokens = tokens - taken
    call('HSET', queue_key(queue), 'tokens', tostring(tokens), 'filled', now)
    if tokens < 1 and num(got[1]) > taken then
      return math.ceil((1 - tokens) / spec.rate * 1000)
    end
  end
  return nil
end

-- Takes what there is for the room that this keeper has; the leases, and in how many milliseconds it is worth asking again.
function J.take_all(wants)
  J.wake()
  local leases, wait = {}, 1000
  for _, want in ipairs(wants) do
    local next_start = J.take(want.queue, want.at_once, leases)
    wait = math.min(wait, next_start or wait)
  end
  local first = call('ZRANGE', P .. 'delayed', 0, 0, 'WITHSCORES')[2]
  if first then
    wait = math.max(0, math.min(wait, num(first) - now))
  end
  return { math.ceil(wait), leases }
end

-- Runs have ended. That a job is done counts whoever says it; everything else is for who holds it to say.
function J.settle(ends)
  for _, one in ipairs(ends) do
    local job = J.load(one.seq)
    if job and job.state == 0 and job.phase then
      local is_its = job.phase == 'leased' and job.by == keeper and job.attempt == one.attempt
      local outcome = one.outcome
      if outcome == 'Done' then
        add(job.queue, 'done', 1)
        J.finish(job, 1, nil)
      elseif is_its and outcome == 'Returned' then
        J.give_back(job)
      elseif is_its and outcome.Dead then
        J.die(job, outcome.Dead.error)
      elseif is_its and outcome.Retry then
        J.retry_later(job, outcome.Retry.after_ms, outcome.Retry.error)
      end
    end
  end
end

function J.retry_later(job, after_ms, reason)
  J.leave(job)
  add(job.queue, 'retried', 1)
  call('HINCRBY', job_key(job.seq), 'attempt', 1)
  call('HSET', job_key(job.seq), 'error', reason)
  J.remember(job.seq, reason)
  J.delay(job, now + after_ms)
  -- In an ordered queue it keeps its key's place, so that the others of its key stay behind it.
  if not J.spec(job.queue).ordered then
    J.release(job)
  end
end

-- What is done to each of these jobs that this keeper has leased.
local function each_lease(seqs, act)
  for _, seq in ipairs(seqs) do
    local job = J.load(seq)
    if job and job.phase == 'leased' and job.by == keeper then
      act(job)
    end
  end
end

-- The workers of these jobs have died.
function J.crashed(seqs)
  each_lease(seqs, J.crash)
end

-- The workers of these jobs have ended in good order.
function J.returned(seqs)
  each_lease(seqs, J.give_back)
end

-- What a keeper has leased.
function J.leases_of(whose)
  local seqs = {}
  for _, queue in ipairs(call('SMEMBERS', P .. 'queues')) do
    for _, rank in ipairs(call('ZRANGE', P .. 'rs:' .. queue, 0, -1)) do
      local stream = P .. 'r:' .. queue .. ':' .. rank
      for _, pending in ipairs(call('XPENDING', stream, 'tenfold', '-', '+', 100000, whose)) do
        local entry = call('XRANGE', stream, pending[1], pending[1])[1]
        seqs[#seqs + 1] = entry and entry[2][2]
      end
    end
  end
  return seqs
end

-- This keeper runs a job that nobody has leased: it was taken back while the keeper was away.
function J.seize(job)
  J.leave(job)
  local stream = P .. 'r:' .. job.queue .. ':' .. HELD
  local entry = call('XADD', stream, '*', 's', job.seq)
  if call('ZADD', P .. 'rs:' .. job.queue, HELD, HELD) == 1 then
    call('XGROUP', 'CREATE', stream, 'tenfold', '0')
  end
  call('XCLAIM', stream, 'tenfold', keeper, 0, entry, 'FORCE', 'JUSTID')
  call('HSET', job_key(job.seq), 'phase', 'leased', 'by', keeper, 'rank', HELD, 'entry', entry)
  add(job.queue, 'leased', 1)
end

-- A keeper comes, or comes back. What it runs it keeps, what it does not run goes back; those that it must not go on with.
function J.open(opening)
  call('HSET', P .. 'session', keeper, session)
  call('ZADD', P .. 'alive', now, keeper)
  local held, lost = {}, {}
  for _, seq in ipairs(opening.held) do
    held[tostring(seq)] = true
  end
  for _, seq in ipairs(J.leases_of(keeper)) do
    if not held[tostring(seq)] then
      J.give_back(J.load(seq))
    end
  end
  for _, seq in ipairs(opening.held) do
    local job = J.load(seq)
    if not job or job.state ~= 0 or (job.phase == 'leased' and job.by ~= keeper) then
      lost[#lost + 1] = seq
    elseif job.phase ~= 'leased' then
      J.seize(job)
    end
  end
  return lost
end

-- A keeper ends in good order; it has given everything back.
function J.close()
  call('ZREM', P .. 'alive', keeper)
  call('HDEL', P .. 'session', keeper)
  call('HDEL', P .. 'workers', keeper)
  return 'closed'
end

-- This keeper is alive. Looks after those that are not, and returns which of `held` are no longer this keeper's.
function J.beat(beat)
  call('ZADD', P .. 'alive', now, keeper)
  call('HSET', P .. 'workers', keeper, beat.workers)
  local lost = {}
  for _, seq in ipairs(beat.held) do
    if call('HGET', job_key(seq), 'by') ~= keeper then
      lost[#lost + 1] = seq
    end
  end
  -- When this was done by nobody for a while, the engine was away or everybody was: all get the time to say that they live.
  if now - num(call('GET', P .. 'tended')) > beat.lease_ms / 2 then
    call('SET', P .. 'grace', now + beat.lease_ms)
  end
  call('SET', P .. 'tended', now)
  if now >= num(call('GET', P .. 'grace')) then
    for _, gone in ipairs(call('ZRANGEBYSCORE', P .. 'alive', '-inf', now - beat.lease_ms)) do
      for _, seq in ipairs(J.leases_of(gone)) do
        J.crash(J.load(seq))
      end
      call('ZREM', P .. 'alive', gone)
      call('HDEL', P .. 'workers', gone)
      call('HDEL', P .. 'session', gone)
    end
  end
  J.tidy(beat.keep_ms, beat.ended_max)
  return lost
end

-- Forgets ended jobs that are old, or too many; a little at a time.
function J.tidy(keep_ms, ended_max)
  local old = call('ZRANGEBYSCORE', P .. 'ended', '-inf', now - keep_ms, 'LIMIT', 0, 1000)
  local over = call('ZCARD', P .. 'ended') - ended_max
  if #old == 0 and over > 0 then
    old = call('ZRANGE', P .. 'ended', 0, math.min(over, 1000) - 1)
  end
  for _, seq in ipairs(old) do
    J.forget(seq)
  end
end
