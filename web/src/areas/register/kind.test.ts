import { expect, it } from 'vitest'
import { KIND } from './fixture'
import { daysUntil, fieldOf, formItems, groups, passed, startTransitions, transitionOf, valueText } from './kind'
import type { HistoryEntry, Value } from './types'

const entry = (at: string, from: string | null, to: string): HistoryEntry => ({ at, user: 'u', name: 'n', action: 'update', transition: 't', from, to, changes: {}, steps: [] })

it('offers_to_begin_only_what_one_of_the_roles_may', () => {
  const ids = (...roles: string[]) => startTransitions(KIND, roles).map((t) => t.id)
  expect(ids('safety_manager')).toEqual(['report'])
  expect(ids('inspector', 'safety_manager')).toEqual(['report', 'inspect'])
  expect(ids('leader')).toEqual([])
})
it('asks_required_and_allowed_fields_in_the_order_of_the_kind', () => {
  expect(formItems(KIND, transitionOf(KIND, 'assign')!).map((i) => `${i.field.id}${i.required ? '*' : ''}`)).toEqual(['what', 'due_on*', 'funds', 'responsible*'])
})
it('puts_each_field_with_the_transition_that_asks_it_first', () => {
  expect(groups(KIND).map((g) => [g.by === null ? 'rest' : g.by === 'computed' ? 'computed' : g.by.id, g.fields.map((f) => f.id)])).toEqual([
    ['report', ['what', 'level', 'place', 'items']],
    ['assign', ['due_on', 'funds', 'responsible']],
    ['computed', ['total']],
    ['rest', ['origin', 'photos']],
  ])
})
it('shows_names_units_and_a_dash_never_ids', () => {
  const shown = (id: string, value: Value, locale = 'zh-CN') => valueText(fieldOf(KIND, id)!, value, { locale, people: { u1: '王工' }, rows: (n) => `${n} 行`, files: (n) => `${n} 个文件` })
  expect(shown('level', 'major')).toBe('重大')
  expect(shown('level', 'major', 'en')).toBe('major')
  expect(shown('funds', 1234567.89)).toBe('1,234,567.89\u2009元')
  expect(shown('responsible', 'u1')).toBe('王工')
  expect(shown('responsible', 'u9')).toBe('u9')
  expect(shown('place', { lon: 102.5, lat: 24.3 })).toBe('102.500000, 24.300000 WGS-84')
  expect(shown('items', [{ name: 'a' }])).toBe('1 行')
  expect(shown('items', [])).toBe('—')
  expect(shown('funds', 0)).toBe('0\u2009元')
})
it('tells_the_states_passed_in_time_and_leaves_out_staying', () => {
  const told = [entry('2026-01-03', 'treating', 'treating'), entry('2026-01-02', 'found', 'treating'), entry('2026-01-01', null, 'found')]
  const states = ['found', 'treating']
  expect(passed(told, 'treating').map((s) => s.state)).toEqual(states)
  expect(passed([...told].reverse(), 'treating').map((s) => s.state)).toEqual(states)
  const same = told.map((e) => ({ ...e, at: '2026-01-01' }))
  expect(passed(same, 'treating').map((s) => s.state)).toEqual(states)
  expect(passed([...same].reverse(), 'treating').map((s) => s.state)).toEqual(states)
  const reminded = { ...entry('2026-01-04', null, ''), action: 'escalate', transition: null, to: null }
  expect(passed([reminded, ...told], 'treating').map((s) => s.state)).toEqual(states)
  expect(passed([], 'found')).toEqual([{ state: 'found', at: null }])
})
it('counts_days_between_civil_dates', () => {
  expect(daysUntil('2026-03-01', '2026-02-26')).toBe(3)
  expect(daysUntil('2026-02-25', '2026-02-26')).toBe(-1)
})
