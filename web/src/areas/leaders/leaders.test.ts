import { expect, it } from 'vitest'
import type { LeadersDivision } from '@/api/types'
import { counted, evidence, ranked } from './leaders'

const division = (code: string, n: number): LeadersDivision => ({ code, name: code, measures: [{ criterion: 'red_alarms', n, of: null, rank: n ? 1 : null, tied: false, is_small: true }] })

it('ranks_by_one_count_alone_and_leaves_equal_ones_in_order_of_codes', () => {
  const all = [division('530423', 2), division('530402', 2), division('530403', 5), division('530422', 0)]
  expect(ranked(all, 'red_alarms').map((d) => d.code)).toEqual(['530403', '530402', '530423', '530422'])
  expect(ranked(all, 'deaths').map((d) => d.code)).toEqual(['530402', '530403', '530422', '530423'])
  expect(counted({ divisions: all })).toEqual(['red_alarms'])
})
it('leads_from_a_count_to_a_list_that_asks_for_the_same', () => {
  expect(evidence('deaths', '530402', '2026-11-23')).toEqual({ path: '/accidents/statistics', query: { from: '2026-01-01', to: '2026-11-23', region: '530402' } })
  // Past the limit is before today.
  expect(evidence('listed_over', '530402', '2026-03-01').query['f.due_on.to']).toBe('2026-02-28')
})
