import { expect, it } from 'vitest'
import type { DutyDesk, DutyShift } from '@/api/types'
import { firstGap, mayConfirm, mayHandOver, rowsOf, top, uncovered } from './duty'

const shift = (id: string, user: string, from: string, to: string, more: Partial<DutyShift> = {}): DutyShift => ({ id, region: '530402', region_name: 'R', desk: 'watch', user, user_name: user, second: null, second_name: null, from, to, phone: '', note: '', handover: null, revision: 1, ...more })
const desk = (more: Partial<DutyDesk> = {}): DutyDesk => ({ region: '530402', region_name: 'R', desk: 'watch', on: [], next: null, unread: [], gaps: [], ...more })
const DAYS = ['2026-11-23', '2026-11-24']

it('puts_a_night_on_the_day_on_which_it_begins_and_what_began_before_on_the_first', () => {
  const rows = rowsOf(DAYS, [shift('a', '1', '2026-11-22T12:00:00Z', '2026-11-23T00:00:00Z'), shift('b', '2', '2026-11-23T12:00:00Z', '2026-11-24T00:00:00Z'), shift('old', '1', '2026-11-20T00:00:00Z', '2026-11-21T00:00:00Z')], [])
  expect(rows.map((r) => r.cells.map((c) => c.shifts.map((s) => s.id)))).toEqual([[['a', 'b'], []]])
})
it('cuts_a_gap_at_midnight_in_beijing', () => {
  const rows = rowsOf(DAYS, [], [desk({ gaps: [{ from: '2026-11-23T12:00:00Z', to: '2026-11-24T00:00:00Z' }] })])
  const text = rows[0]!.cells.map((c) => c.gaps.map((g) => [new Date(g.from).toISOString(), new Date(g.to).toISOString()]))
  expect(text).toEqual([[['2026-11-23T12:00:00.000Z', '2026-11-23T16:00:00.000Z']], [['2026-11-23T16:00:00.000Z', '2026-11-24T00:00:00.000Z']]])
  expect(uncovered([desk({ gaps: [{ from: '2026-11-23T12:00:00Z', to: '2026-11-23T13:30:00Z' }] })])).toBe(1.5)
  expect(firstGap([desk(), desk({ gaps: [{ from: '2026-11-23T12:00:00Z', to: '2026-11-23T13:30:00Z' }] })])).toBe(Date.parse('2026-11-23T12:00:00Z'))
  expect(firstGap([desk()])).toBeNull()
})
it('offers_to_hand_over_to_whoever_is_on_duty_and_to_confirm_to_the_next', () => {
  const now = Date.parse('2026-11-23T11:00:00Z')
  const mine = shift('a', 'me', '2026-11-23T00:00:00Z', '2026-11-23T12:00:00Z')
  expect(mayHandOver(mine, 'me', now)).toBe(true)
  expect(mayHandOver(mine, 'other', now)).toBe(false)
  expect(mayHandOver(mine, 'me', Date.parse('2026-11-22T23:00:00Z'))).toBe(false)
  const said = shift('a', 'other', mine.from, mine.to, { handover: { text: 'x', open_alarms: 0, alarms: [], by: 'other', by_name: 'o', at: mine.to, confirmed_by_name: null, confirmed_at: null, revision: 1 } })
  const here = desk({ on: [said], next: shift('b', 'me', mine.to, '2026-11-24T00:00:00Z') })
  expect(mayConfirm(here, said, 'me')).toBe(true)
  expect(mayConfirm(here, said, 'other')).toBe(false)
  expect(mayConfirm(here, said, 'third')).toBe(false)
})
it('shows_a_wall_the_widest_division_alone', () => {
  const desks = [desk(), desk({ region: '5304', desk: 'leader' }), desk({ region: '5304' })]
  expect(top(desks).map((d) => d.region)).toEqual(['5304', '5304'])
  expect(top([])).toEqual([])
})
