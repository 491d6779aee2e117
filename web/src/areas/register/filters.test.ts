import { expect, it } from 'vitest'
import { KIND } from './fixture'
import { fieldFilterCount, readFilters, writeFilters } from './filters'

const round = (query: Record<string, unknown>) => writeFilters(readFilters(query, KIND))

it('keeps_every_filter_that_the_kind_knows', () => {
  const query = { q: '储罐', state: 'found', enterprise: 'e1', region: '530402', parent: 'p1', due_before: '2026-12-31', open: 'true', overdue: 'true', mine: 'true', retention_over: 'true', 'f.level': 'major', 'f.due_on.from': '2026-01-01', 'f.due_on.to': '2026-02-01', 'f.funds.from': '0.5', 'f.responsible': 'u1' }
  expect(round(query)).toEqual(query)
  expect(fieldFilterCount(readFilters(query, KIND))).toBe(4)
})
it('leaves_out_what_the_server_would_refuse', () => {
  expect(round({ state: 'nowhere', due_before: 'soon', open: 'yes', 'f.level': 'huge', 'f.due_on.from': '1.1.2026', 'f.funds.to': 'much', 'f.secret': 'x', other: '1', q: ['a', 'b'] })).toEqual({ q: 'a' })
})
