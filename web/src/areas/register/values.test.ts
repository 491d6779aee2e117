import { expect, it } from 'vitest'
import { KIND } from './fixture'
import { fieldOf, formItems, transitionOf } from './kind'
import type { Fields } from './types'
import { type Draft, type RowDraft, blankRow, changes, check, controlName, draftOf, draftOfForm, rebase, valueOf } from './values'

const field = (id: string) => fieldOf(KIND, id)!
const items = (id: string) => formItems(KIND, transitionOf(KIND, id)!)
const row = (cells: Record<string, string>): RowDraft => ({ ...blankRow(field('items')), cells: { name: '', mass: '', ...cells } })

it('gives_back_every_value_as_it_came', () => {
  const whole: Fields = { what: '裂纹', level: 'major', due_on: '2026-12-01', funds: 12.5, responsible: 'u1', place: { lon: 102.5, lat: 24.3 }, items: [{ name: '氨', mass: 10 }, { name: '氯' }] }
  for (const [id, value] of Object.entries(whole)) expect(valueOf(field(id), draftOf(field(id), value)), id).toEqual(value)
  for (const id of Object.keys(whole)) expect(valueOf(field(id), draftOf(field(id), undefined)), id).toBeNull()
})
it('names_each_mistake_at_its_control', () => {
  const found = (transition: string, draft: Draft) => check(items(transition), draft).map((p) => `${p.name} ${p.fault}`)
  expect(found('report', {})).toEqual(['what missing', 'level missing'])
  expect(found('report', { what: '一二三四五六七八九十百', level: 'major', place: { lon: '102', lat: '' } })).toEqual(['what long', 'place-lat place'])
  expect(found('report', { what: 'a', level: 'major', place: { lon: '1020', lat: '24' } })).toEqual(['place place'])
  expect(found('report', { what: '𠀀'.repeat(10), level: 'major' })).toEqual([])
  expect(found('report', { what: 'a', level: 'major', items: [row({ mass: '-1' }), row({ name: '六个字的名称' }), row({ mass: '一' })] })).toEqual(['items rows', 'items-0-mass low', 'items-1-name long', 'items-2-mass number'])
  expect(found('assign', { due_on: '2026-01-01', responsible: 'u', funds: '101' })).toEqual(['funds high'])
})
it('sends_required_fields_always_and_others_if_they_changed', () => {
  const before: Fields = { what: '裂纹', due_on: '2026-12-01', responsible: 'u1', funds: 3 }
  const draft: Draft = Object.fromEntries(items('assign').map(({ field: f }) => [f.id, draftOf(f, before[f.id])]))
  expect(changes(items('assign'), draft, before)).toEqual({ due_on: '2026-12-01', responsible: 'u1' })
  expect(changes(items('assign'), { ...draft, funds: '', what: '裂缝' }, before)).toEqual({ due_on: '2026-12-01', responsible: 'u1', funds: null, what: '裂缝' })
})
it('leaves_out_rows_with_nothing_in_them', () => {
  expect(valueOf(field('items'), [row({}), row({ name: '氨' })])).toEqual([{ name: '氨' }])
  expect(valueOf(field('items'), [row({})])).toBeNull()
})
it('keeps_what_was_typed_when_somebody_else_saved_first', () => {
  const before: Fields = { what: '裂纹', funds: 3 }
  const after: Fields = { what: '别人写的', funds: 5 }
  const draft: Draft = { ...Object.fromEntries(items('assign').map(({ field: f }) => [f.id, draftOf(f, before[f.id])])), funds: '4' }
  const moved = rebase(items('assign'), draft, before, after)
  expect([moved.what, moved.funds]).toEqual(['别人写的', '4'])
})
it('begins_with_the_record_but_empty_where_the_step_asks_anew', () => {
  const anew = items('assign').map((i) => ({ ...i, fresh: i.field.id === 'due_on' }))
  const before: Fields = { what: '裂纹', due_on: '2026-12-01' }
  const draft = draftOfForm(anew, before)
  expect([draft.what, draft.due_on]).toEqual(['裂纹', ''])
  expect(rebase(anew, { ...draft, due_on: '2027-01-01' }, before, { due_on: '2026-12-09' }).due_on).toBe('2027-01-01')
  expect(rebase(anew, draft, before, { due_on: '2026-12-09' }).due_on).toBe('')
})
it('finds_the_control_of_the_path_that_the_server_names', () => {
  const pairs: [string | null, string | null][] = [
    ['fields.due_on', 'due_on'],
    ['fields.items[2].mass', 'items-2-mass'],
    ['fields.items.2.mass', 'items-2-mass'],
    ['fields.place.lon', 'place'],
    ['fields.place.lat', 'place-lat'],
    ['enterprise', 'enterprise'],
    ['fields', null],
    [null, null],
  ]
  for (const [path, name] of pairs) expect(controlName(path)).toBe(name)
})
