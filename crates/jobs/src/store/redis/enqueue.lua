-- Taking jobs in: all of a request or none.

-- The queue that has no room for what is new of these jobs; makes room where the queue's rule is to drop.
function J.short_of_room(enqueue)
  local news, order = {}, {}
  local function count(job)
    if not news[job.queue] then
      news[job.queue] = { count = 0, bytes = 0, known = true }
      order[#order + 1] = job.queue
    end
    local new = news[job.queue]
    new.count, new.bytes = new.count + 1, new.bytes + #job.payload
    return new
  end
  for _, job in ipairs(enqueue.jobs) do
    count(job)
  end
  if enqueue.last then
    count(enqueue.last)
  end
  for _, queue in ipairs(order) do
    local new, spec = news[queue], J.spec(queue)
    local function has_room()
      local got = call('HMGET', queue_key(queue), 'live', 'bytes')
      return num(got[1]) + new.count <= spec.capacity and num(got[2]) + new.bytes <= spec.bytes_max
    end
    if spec.draining or not has_room() then
      -- A job that comes again needs no room: looked at only here, where it matters.
      for _, job in ipairs(enqueue.jobs) do
        if job.queue == queue and call('EXISTS', P .. 'i:' .. job.id) == 0 then
          new.known = false
        end
      end
      if not new.known then
        if spec.drop_oldest and not spec.draining and new.count <= spec.capacity and new.bytes <= spec.bytes_max then
          J.make_room(queue, has_room)
        end
        if spec.draining or not has_room() then
          add(queue, 'refused', new.count)
          return queue
        end
      end
    end
  end
  return nil
end

-- The lowest number that does not run is the oldest.
function J.make_room(queue, has_room)
  local from = 0
  while not has_room() do
    local seq = call('ZRANGE', P .. 'live:' .. queue, from, from)[1]
    if not seq then
      return
    end
    local job = J.load(seq)
    if job.phase == 'leased' then
      from = from + 1
    else
      add(queue, 'dropped', 1)
      J.finish(job, 3, 'dropped: the queue was full')
    end
  end
end

-- Keeps one job; its id and whether it was there already.
function J.keep(job, created, batch)
  if call('EXISTS', P .. 'i:' .. job.id) == 1 then
    return job.id, 1
  end
  if job.unique then
    local word = pair('u', job.queue, job.unique)
    local holder = call('GET', word)
    if holder then
      return holder, 1
    end
    call('SET', word, job.id)
  end
  J.spec(job.queue)
  local seq, run_at = call('INCR', P .. 'seq'), created + job.delay_ms
  call('SET', P .. 'i:' .. job.id, seq)
  local fields = {
    'id', job.id, 'queue', job.queue, 'name', job.name, 'payload', job.payload, 'bytes', #job.payload, 'state', 0,
    'run_at', run_at, 'priority', job.priority, 'attempt', 0, 'crashes', 0, 'created', created,
  }
  local function more(name, value)
    if value then
      fields[#fields + 1] = name
      fields[#fields + 1] = value
    end
  end
  more('key', job.key)
  more('batch', batch)
  more('word', job.unique)
  more('until', job.unique and created + job.unique_ms)
  call('HSET', job_key(seq), unpack(fields))
  call('ZADD', P .. 'live:' .. job.queue, seq, seq)
  add(job.queue, 'live', 1)
  add(job.queue, 'bytes', #job.payload)
  add(job.queue, 'taken', 1)
  local loaded = { seq = seq, queue = job.queue, priority = job.priority, key = job.key, attempt = 0, slot = false }
  if run_at > now then
    J.delay(loaded, run_at)
  else
    J.arrive(loaded)
  end
  return job.id, 0
end

-- One job of a batch has ended for good; the last one's turn, if it was the last but one.
function J.tick_batch(batch, failed)
  local key = P .. 'b:' .. batch
  if failed then
    call('HINCRBY', key, 'failed', 1)
  end
  if call('HINCRBY', key, 'left', -1) <= 0 then
    local last = call('HGET', key, 'last')
    call('DEL', key)
    if last then
      J.keep(cmsgpack.unpack(last), now, nil)
    end
  end
end

-- Keeps jobs that came `age` milliseconds ago, all or none.
function J.enqueue(enqueue, age)
  local full = J.short_of_room(enqueue)
  if full then
    return { 'full', full }
  end
  local batch = nil
  if enqueue.last and call('EXISTS', P .. 'i:' .. enqueue.jobs[1].id) == 0 then
    batch = call('INCR', P .. 'batch')
    call('HSET', P .. 'b:' .. batch, 'left', #enqueue.jobs, 'failed', 0, 'last', cmsgpack.pack(enqueue.last))
  end
  local kept, known = { 'kept' }, 0
  for _, job in ipairs(enqueue.jobs) do
    local id, was_there = J.keep(job, now - age, batch)
    kept[#kept + 1] = id
    kept[#kept + 1] = was_there
    known = known + was_there
  end
  if batch then
    -- Jobs that were there already are none of this batch.
    for _ = 1, known do
      J.tick_batch(batch, false)
    end
  end
  return kept
end

-- What a spool has kept meanwhile, in its order. A queue that has no room for one of them gets none of those behind it.
function J.forward(rows)
  local answers, full = {}, {}
  for _, row in ipairs(rows) do
    local is_full = false
    local function look(job)
      is_full = is_full or full[job.queue]
    end
    for _, job in ipairs(row.enqueue.jobs) do
      look(job)
    end
    if row.enqueue.last then
      look(row.enqueue.last)
    end
    local taken = false
    if not is_full then
      taken = J.enqueue(row.enqueue, row.age_ms)[1] == 'kept'
    end
    if not taken then
      for _, job in ipairs(row.enqueue.jobs) do
        full[job.queue] = true
      end
      if row.enqueue.last then
        full[row.enqueue.last.queue] = true
      end
    end
    answers[#answers + 1] = taken and 1 or 0
  end
  return answers
end

-- One firing of a schedule, for the whole service: whoever comes first.
function J.fire(firing)
  if num(call('HGET', P .. 'fired', firing.name)) >= firing.last then
    return { 'known' }
  end
  call('HSET', P .. 'fired', firing.name, firing.last)
  local full = { 'known' }
  for _, enqueue in ipairs(firing.jobs) do
    local answer = J.enqueue(enqueue, 0)
    if answer[1] == 'full' then
      full = answer
    end
  end
  return full
end
