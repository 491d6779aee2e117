import { expect, it } from 'vitest'
import type { AuditEntry, PointLatest } from '@/api/types'
import { accountable, silent, sorted, tally, told } from './file'

const point = (id: string, more: Partial<PointLatest> = {}) => ({ id, name: id, site: '', level: null, latest: { stale: false }, ...more }) as PointLatest
it('puts_what_needs_a_look_first', () => {
  const points = [point('b'), point('a'), point('quiet', { latest: null }), point('blue', { level: 'blue' }), point('red', { level: 'red' })]
  expect(sorted(points).map((p) => p.id)).toEqual(['red', 'blue', 'quiet', 'a', 'b'])
  expect([silent(point('x')), silent(point('x', { latest: null })), silent(point('x', { latest: { stale: true } as PointLatest['latest'] }))]).toEqual([false, true, true])
})
it('counts_what_was_read_and_says_when_there_is_more', () => {
  expect(tally([{ overdue: true }, { overdue: false }], null)).toEqual({ open: 2, late: 1, more: false })
  expect(tally([{ overdue: true }], 'x').more).toBe(true)
})
it('names_who_answers_for_it_those_of_the_enterprise_first', () => {
  const people = [{ id: 1, roles: ['screen'] }, { id: 2, roles: ['supervisor'] }, { id: 3, roles: ['administrator', 'leader'] }, { id: 4, roles: ['worker'] }]
  expect(accountable(people).map((p) => p.id)).toEqual([4, 2, 3])
})
it('tells_what_was_given_at_first_and_what_changed_later', () => {
  const entry = (action: string, detail: unknown, user: string | null = '1') => ({ id: '1', at: 't', user, name: '某人', action, noun: 'enterprise', subject: '7', detail }) as AuditEntry
  expect(told([entry('create', { code: 'A', id: 7, place: { lon: 102.5, lat: 24 }, region: '530402', revision: 1 })])[0]!.changes).toEqual([
    { field: 'code', before: null, after: 'A' },
    { field: 'region', before: null, after: '530402' },
    { field: 'place', before: null, after: '102.500000, 24.000000' },
  ])
  const [moved] = told([entry('redivide', { region: ['530421', '530403'], place: [null, { lon: 1, lat: 2 }] }, null)])
  expect(moved).toMatchObject({ who: null, changes: [{ field: 'region', before: '530421', after: '530403' }, { field: 'place', before: '—', after: '1.000000, 2.000000' }] })
})
