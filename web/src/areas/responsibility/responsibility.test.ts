import { expect, test } from 'vitest'
import type { AssessmentUnitResult, ResponsibilityDivision, ResponsibilityUnit } from '@/api/types'
import { newRecord } from '@/areas/register/filters'
import { draftLink, evidenceLink, isFolded, ranked } from './responsibility'

const unit = (over: Partial<ResponsibilityUnit>): ResponsibilityUnit => ({ takes: 'government', region: '530402', region_name: '红塔区', name: null, enterprise: null, letter: null, parent: null, findings: ['orphan'], days_late: null, ...over })

test('the form of an orphan opens with its owner, year and what it takes', () => {
  const link = draftLink(unit({ takes: 'department', name: '公安局' }), '2026', '2026年责任书')
  expect(newRecord(link.query)).toEqual({ transition: 'write', enterprise: '', region: '530402', fields: { title: '2026年责任书', year: '2026', takes: 'department', taker: '公安局' } })
  expect(newRecord(draftLink(unit({ takes: 'enterprise', enterprise: '7', name: '厂' }), '2026', 'x').query)).toMatchObject({ enterprise: '7', region: '' })
  expect(newRecord({ state: 'draft' })).toBeNull()
})

test('townships are folded until their county is opened', () => {
  const of = (code: string, parent: string | null) => ({ code, parent }) as ResponsibilityDivision
  const all = [of('5304', null), of('530402', '5304'), of('530402001', '530402')]
  expect(all.map((d) => isFolded(d, all, new Set()))).toEqual([false, false, true])
  expect(isFolded(all[2]!, all, new Set(['530402']))).toBe(false)
})

test('who has a rank comes first, who is left out last', () => {
  const of = (region: string, rank: number | null, excluded = '') => ({ region, rank, excluded }) as AssessmentUnitResult
  expect(ranked([of('c', null), of('d', null, 'x'), of('b', 2), of('a', 1)]).map((u) => u.region)).toEqual(['a', 'b', 'c', 'd'])
})

test('every sort of row behind a line is opened where it is read', () => {
  const e = (sort: string, kind: string, id: string) => evidenceLink({ sort, kind, id, title: 'x' }, 2026)
  expect(e('record', 'hidden_danger', '7')).toEqual({ path: '/registers/hidden_danger/7' })
  expect(e('fact', 'population', 'f')).toEqual({ path: '/plan/facts', query: { source: 'population' } })
  expect(e('unit', 'enterprise', '3')).toEqual({ path: '/enterprises/3' })
  expect(e('unit', 'department', '530402')).toMatchObject({ path: '/responsibility', query: { year: '2026', division: '530402' } })
})
