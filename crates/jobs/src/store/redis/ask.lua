-- What a person asks, and how he steps in. Answers are lists, which the keeper turns into JSON.

local SHOWN = {
  'id', 'queue', 'name', 'payload', 'state', 'run_at', 'priority', 'key', 'attempt', 'crashes', 'created', 'ended', 'error',
  'phase', 'progress',
}

function J.show(seq)
  local got = call('HMGET', job_key(seq), unpack(SHOWN))
  got[#SHOWN + 1] = num(seq)
  return got
end

function J.queues()
  local all = { 0 }
  for _, workers in ipairs(call('HVALS', P .. 'workers')) do
    all[1] = all[1] + num(workers)
  end
  for _, queue in ipairs(call('SMEMBERS', P .. 'queues')) do
    local oldest = nil
    for _, rank in ipairs(call('ZRANGE', P .. 'rs:' .. queue, 0, -1)) do
      local stream = P .. 'r:' .. queue .. ':' .. rank
      local group = call('XINFO', 'GROUPS', stream)[1]
      local last = '0-0'
      for index = 1, #group, 2 do
        if group[index] == 'last-delivered-id' then
          last = group[index + 1]
        end
      end
      local first = num(rank) ~= HELD and call('XRANGE', stream, '(' .. last, '+', 'COUNT', 1)[1]
      local created = first and num(call('HGET', job_key(first[2][2]), 'created'))
      oldest = created and math.min(created, oldest or created) or oldest
    end
    all[#all + 1] = {
      queue, oldest and math.max(0, now - oldest) or 0, call('ZCARD', P .. 's:2:' .. queue), call('HGETALL', queue_key(queue)),
    }
  end
  return all
end

-- The latest first.
function J.list(ask)
  local queues = ask.queue ~= '' and { ask.queue } or call('SMEMBERS', P .. 'queues')
  local seqs = {}
  for _, queue in ipairs(queues) do
    local set = ask.state == 0 and P .. 'live:' .. queue or P .. 's:' .. ask.state .. ':' .. queue
    for _, seq in ipairs(call('ZREVRANGE', set, 0, ask.limit - 1)) do
      seqs[#seqs + 1] = num(seq)
    end
  end
  table.sort(seqs, function(a, b) return a > b end)
  local jobs = {}
  for index = 1, math.min(#seqs, ask.limit) do
    jobs[index] = J.show(seqs[index])
  end
  return jobs
end

function J.seq_of(id)
  return call('GET', P .. 'i:' .. id)
end

local function unknown(id)
  return { 'refused', 'there is no job ' .. id }
end

function J.look_up(id)
  local seq = J.seq_of(id)
  return seq and { 'job', J.show(seq), call('HGET', job_key(seq), 'history') } or unknown(id)
end

-- Dead jobs live again; how many.
function J.revive(ask)
  local dead = {}
  if ask.id ~= '' then
    local seq = J.seq_of(ask.id)
    if not seq then
      return unknown(ask.id)
    end
    if num(call('HGET', job_key(seq), 'state')) ~= 2 then
      return { 'refused', 'job ' .. ask.id .. ' is not dead' }
    end
    dead[1] = seq
  else
    for _, queue in ipairs(ask.queue ~= '' and { ask.queue } or call('SMEMBERS', P .. 'queues')) do
      for _, seq in ipairs(call('ZRANGE', P .. 's:2:' .. queue, 0, 9999)) do
        dead[#dead + 1] = seq
      end
    end
  end
  for _, seq in ipairs(dead) do
    local key = job_key(seq)
    call('HSET', key, 'state', 0, 'attempt', 0, 'crashes', 0, 'run_at', now)
    call('HDEL', key, 'ended', 'batch', 'slot')
    J.remember(seq, 'was dead, and runs again: somebody asked for it')
    local job = J.load(seq)
    call('ZREM', P .. 's:2:' .. job.queue, seq)
    call('ZADD', P .. 'live:' .. job.queue, seq, seq)
    add(job.queue, 'live', 1)
    add(job.queue, 'bytes', job.bytes)
    if job.word then
      call('SET', pair('u', job.queue, job.word), job.id)
    end
    J.arrive(job)
  end
  return { 'retried', #dead }
end

-- Whose run is to be stopped, if it runs.
function J.cancel(id)
  local seq = J.seq_of(id)
  if not seq then
    return unknown(id)
  end
  local job = J.load(seq)
  if job.state ~= 0 then
    return { 'refused', 'job ' .. id .. ' has ended' }
  end
  add(job.queue, 'cancelled', 1)
  local by = job.phase == 'leased' and job.by or ''
  J.finish(job, 3, 'cancelled')
  if by ~= '' and by ~= keeper then
    call('PUBLISH', P .. 'to:' .. by, seq)
  end
  return { 'cancelled', num(seq) }
end

function J.delete(id)
  local seq = J.seq_of(id)
  if not seq then
    return unknown(id)
  end
  if num(call('HGET', job_key(seq), 'state')) == 0 then
    return { 'refused', 'job ' .. id .. ' is live: cancel it first' }
  end
  J.forget(seq)
  return { 'deleted', 1 }
end

function J.switch(ask)
  local key = queue_key(ask.queue)
  if call('EXISTS', key) == 0 then
    return { 'refused', 'there is no queue ' .. ask.queue }
  end
  call('HSET', key, ask.what, ask.on and 1 or 0)
  rang = rang or not ask.on
  local got = call('HMGET', key, 'paused', 'draining')
  return { 'switches', num(got[1]), num(got[2]) }
end

-- The rules of queues; the latest word counts. What waits in a queue already takes its place under them.
function J.define(queues)
  for _, new in ipairs(queues) do
    local old = J.spec(new.name)
    call('HSET', queue_key(new.name), 'capacity', new.capacity, 'bytes_max', new.bytes_max, 'dead_max', new.dead_max,
      'crashes_max', new.crashes_max, 'drop_oldest', new.drop_oldest and 1 or 0, 'rate', tostring(new.rate or 0),
      'per_key', new.per_key or 0, 'ordered', new.ordered and 1 or 0)
    specs[new.name] = nil
    if J.spec(new.name).bound ~= old.bound then
      for _, key in ipairs(call('SMEMBERS', P .. 'blocked:' .. new.name)) do
        J.promote(new.name, key)
      end
    end
  end
end
