-- renew.lua: renew the lease of a worker, so that it keeps its samples, and take back samples that it does not know of.
-- After a failover that lost the end of a sample, Redis says that the worker has it, and the worker knows that it ended.
-- KEYS  1 meta
-- ARGV  1 worker   2 lease, ms   3 sequence number of its next claim, '' to take nothing back
--       4… tokens of the samples that it holds
-- Returns 1 if renewed, 0 if the lease has run out and the samples were given back. A lease that ran out while nobody
-- recovered is renewed: no other worker can have the samples yet. Nothing is taken back while a claim's reply is on its
-- way, and a call that comes late takes nothing back either: that claim's number is not below ARGV 3.

allow_beyond_memory_limit()
local TAKEN_BACK = 64  -- samples in one call; the next one goes on
local worker = ARGV[1]
local me, workers, touched = key('worker', worker), key('workers'), {}
keep_worker(worker, tonumber(ARGV[2]))
redis.call('ZADD', workers, 'XX', int(now + tonumber(ARGV[2])), worker)
if not redis.call('ZSCORE', workers, worker) then return 0 end

local function take_back(member)
  local id, index = string.match(member, '^(.+):(%d+)$')
  local job = find(id)
  take_from(worker, id, index)
  if job then return_sample(job, index, '', crashes_of(job, index)) end
  touched[id] = true
end

local function take_back_unknown(held)
  local known, samples, taken = {}, redis.call('ZRANGE', held, 0, -1, 'WITHSCORES'), 0
  for place = 4, #ARGV do known[ARGV[place]] = true end
  for position = 1, #samples, 2 do
    if not known[samples[position + 1]] and taken < TAKEN_BACK then
      take_back(samples[position])
      taken = taken + 1
    end
  end
end

local last, held = tonumber(redis.call('HGET', me, 'sequence') or '-1'), key('held', worker)
if ARGV[3] ~= '' and last < tonumber(ARGV[3]) and redis.call('ZCARD', held) > #ARGV - 3 then
  take_back_unknown(held)
  conclude()
  ring_bell()
  for id in pairs(touched) do announce(id) end
end
return 1
