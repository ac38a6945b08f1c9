-- running.lua: count the samples in workers' slots, and read the state of jobs at the same moment.
-- Samples that have left their slots, as claim.lua notes, are not counted.
-- KEYS  1 meta
-- ARGV  1 names of a job's fields, separated by spaces   2… job ids; without both, only the total is returned
-- Returns {total of all jobs, then for each of these jobs {its number, values of those fields}}.

local leaving = key('leaving')
local total = tonumber(redis.call('HGET', key('totals'), 'running') or '0') - redis.call('ZCARD', leaving)
local numbers, fields = {math.max(0, total)}, {}
for name in string.gmatch(ARGV[1] or '', '%S+') do fields[#fields + 1] = name end
for place = 2, #ARGV do
  local id = ARGV[place]
  local left = redis.call('ZLEXCOUNT', leaving, '[' .. id .. ':', '(' .. id .. ';')  -- ';' follows ':'
  local number = math.max(0, redis.call('SCARD', key('running', id)) - left)
  numbers[#numbers + 1] = {number, redis.call('HMGET', key('job', id), unpack(fields))}
end
return numbers
