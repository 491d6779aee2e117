import { expect, it } from 'vitest'
import { KIND } from './fixture'
import { actOf, beginning, daysUntil, doer, fieldOf, formItems, forward, groups, isPrinted, mayImport, minutesTo, passed, rolesFor, saying, startTransitions, transitionOf, valueText } from './kind'
import type { Field, HistoryEntry, Value } from './types'

const entry = (at: string, from: string | null, to: string): HistoryEntry => ({ at, user: 'u', name: 'n', action: 'update', transition: 't', from, to, changes: {}, steps: [], people: {}, hash: '', references: {} })

it('offers_to_begin_only_what_one_of_the_roles_may', () => {
  const ids = (...roles: string[]) => startTransitions(KIND, roles).map((t) => t.id)
  expect(ids('safety_manager')).toEqual(['report'])
  expect(ids('inspector', 'safety_manager')).toEqual(['report', 'inspect'])
  expect(ids('leader')).toEqual([])
})
it('asks_required_and_allowed_fields_in_the_order_of_the_kind', () => {
  expect(formItems(KIND, transitionOf(KIND, 'assign')!).map((i) => `${i.field.id}${i.required ? '*' : ''}`)).toEqual(['what', 'due_on*', 'funds', 'responsible*'])
})
it('puts_each_field_under_what_filled_it_last', () => {
  const act = (at: string, transition: string, changes: HistoryEntry['changes']): HistoryEntry => ({ ...entry(at, 'found', 'found'), transition, changes })
  const fields = { what: '甲', level: 'major', funds: 3, due_on: '2026-02-01', total: 4, origin: '旧系统' }
  // `send_back` may fill the level too, and nobody took it.
  const told = [
    { ...act('2026-01-05', 'x', { funds: [3, 3] }), transition: null },
    act('2026-01-04', 'amend', { funds: [2, 3] }),
    act('2026-01-03', 'assign', { due_on: [null, '2026-02-01'], funds: [null, 2], total: [null, 4] }),
    act('2026-01-01', 'inspect', { what: [null, '甲'], level: [null, 'major'] }),
  ]
  const shown = (entries: HistoryEntry[]) => groups(KIND, fields, entries).map((g) => [typeof g.by === 'string' || g.by === null ? g.by : g.by.id, g.fields.map((f) => f.id)])
  const rest = [[null, ['origin']], ['computed', ['total']], ['unfilled', ['responsible', 'place', 'items', 'photos', 'basis']]]
  expect(shown(told)).toEqual([['inspect', ['what', 'level']], ['assign', ['due_on']], ['amend', ['funds']], ...rest])
  expect(shown([])).toEqual([[null, ['what', 'level', 'due_on', 'funds', 'origin']], ...rest.slice(1)])
})
it('leads_on_by_the_order_of_states_and_never_back', () => {
  const of = (from: string, ...ids: string[]) => forward(KIND, from, ids.map((id) => transitionOf(KIND, id)!))?.id
  expect(of('checked', 'send_back', 'close')).toBe('close')
  expect(of('checked', 'send_back')).toBeUndefined()
  expect(of('treating', 'amend', 'submit')).toBe('submit')
  expect(of('treating', 'amend')).toBeUndefined()
})
it('lets_import_only_whose_roles_may_take_the_transition_of_the_import', () => {
  const kind = { ...KIND, import: ['what'], import_by: 'inspect' }
  expect(mayImport(kind, ['inspector'])).toBe(true)
  expect(mayImport(kind, ['safety_manager'])).toBe(false)
  expect(mayImport(KIND, ['inspector'])).toBe(false)
})
it('shows_names_units_and_a_dash_never_ids', () => {
  const shown = (id: string, value: Value, locale = 'zh-CN') => valueText(fieldOf(KIND, id)!, value, { locale, people: { u1: '王工' }, records: { 7: { id: '7', kind: 'clause', title: '演示条例 第一条', state: 'in_force' } }, unseen: '不可见的记录', rows: (n) => `${n} 行`, files: (n) => `${n} 个文件` })
  expect(shown('level', 'major')).toBe('重大')
  expect(shown('level', 'major', 'en')).toBe('major')
  expect(shown('funds', 1234567.89)).toBe('1,234,567.89\u2009元')
  expect(shown('responsible', 'u1')).toBe('王工')
  expect(shown('responsible', 'u9')).toBe('u9')
  expect(shown('place', { lon: 102.5, lat: 24.3 })).toBe('102.500000, 24.300000 WGS-84')
  expect(shown('items', [{ name: 'a' }])).toBe('1 行')
  expect(shown('items', [])).toBe('—')
  expect(shown('basis', '7')).toBe('演示条例 第一条')
  expect(shown('basis', '8')).toBe('不可见的记录')
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
it('calls_what_is_no_step_by_what_it_was', () => {
  const act = (action: string, more: Partial<HistoryEntry> = {}) => ({ ...entry('2026-01-01', null, ''), transition: null, to: null, action, ...more })
  const told = [act('merge'), act('redivide'), act('take_over'), act('take', { user: null }), act('update', { user: null }), act('update'), act('escalate', { steps: [{ after: 1, to: [], people: 2 }] }), act('escalate')]
  expect(told.map(actOf)).toEqual(['merge', 'redivide', 'take_over', 'take', 'renew', 'update', 'remind', 'deadline'])
  expect(told.filter(isPrinted).map(actOf)).toEqual(['merge', 'take_over', 'take'])
  expect(isPrinted(entry('2026-01-01', null, 'found'))).toBe(true)
})
it('counts_days_between_civil_dates', () => {
  expect(daysUntil('2026-03-01', '2026-02-26')).toBe(3)
  expect(daysUntil('2026-02-25', '2026-02-26')).toBe(-1)
})
it('says_of_a_named_record_what_lists_and_searches_know_beside_its_title', () => {
  const kind = { ...KIND, search: ['what', 'origin'] }
  const fields = { what: '甲', level: 'major', origin: '条文' + '长'.repeat(80), funds: 3 }
  expect(saying(kind, fields).map((f) => f.id)).toEqual(['level', 'origin'])
  expect(beginning(kind, fields)).toBe('条文' + '长'.repeat(58) + '…')
  expect(beginning(KIND, fields)).toBe('')
})
it('lets_only_roles_for_the_whole_node_write_what_is_everybodys', () => {
  const grants = [{ role: 'supervisor', region: '530402' }, { role: 'inspector', enterprise: 'e1' }, { role: 'leader' }]
  expect(rolesFor(KIND, grants)).toEqual(['supervisor', 'inspector', 'leader'])
  expect(rolesFor({ ...KIND, owner: 'everyone' }, grants)).toEqual(['leader'])
})

it('says_who_did_it_also_for_somebody_at_another_node', () => {
  expect(doer({ user: '7', name: '张三' }, '本节点')).toBe('张三')
  expect(doer({ user: null, name: '王五（市局）' }, '本节点')).toBe('王五（市局）')
  expect(doer({ user: null, name: 'system' }, '本节点')).toBe('本节点')
})

it('an_instant_is_beijing_and_begun_minutes_count', () => {
  const at = (text: string) => minutesTo('2026-03-01T12:00', Date.parse(text))
  expect([at('2026-03-01T03:59:59Z'), at('2026-03-01T04:00:00Z'), at('2026-03-01T04:00:01Z'), at('2026-03-01T02:00:00Z')]).toEqual([1, 0, -1, 120])
  const field = { type: 'datetime' } as Field
  expect(valueText(field, '2026-03-01T12:00', { locale: 'zh-CN', people: {}, records: {}, unseen: '', rows: String, files: String })).toBe('2026-03-01 12:00')
})
