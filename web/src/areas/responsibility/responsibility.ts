// Words and addresses of the pages of responsibility letters.
import type { Assessment, AssessmentEvidence, AssessmentUnitResult, ResponsibilityDivision, ResponsibilityUnit } from '@/api/types'

export const TAKERS = ['government', 'department', 'enterprise'] as const
export const FINDINGS = ['orphan', 'parent_not_in_force', 'late', 'no_parent', 'under_way'] as const

/** A government is called by its division. */
export const unitName = (unit: ResponsibilityUnit) => unit.name ?? unit.region_name

/** Where the form of a letter of this unit opens, filled in as far as it is known. */
export function draftLink(unit: ResponsibilityUnit, year: string, title: string) {
  const owner = unit.enterprise ? { enterprise: unit.enterprise } : { region: unit.region }
  const fields = { 'set.title': title, 'set.year': year, 'set.takes': unit.takes, ...(unit.takes === 'department' ? { 'set.taker': unit.name ?? '' } : {}) }
  return { path: '/registers/responsibility_letter', query: { new: 'write', ...Object.fromEntries(Object.entries(owner).map(([k, v]) => [`of.${k}`, v])), ...fields } }
}

/** Whether a division stands below one that is not open; what is above counties always is. */
export function isFolded(division: ResponsibilityDivision, all: readonly ResponsibilityDivision[], opened: ReadonlySet<string>): boolean {
  const parent = all.find((d) => d.code === division.parent)
  return parent !== undefined && parent.code.length >= 6 && !opened.has(parent.code)
}

/** Where a row behind a line is read; a division stands in the coverage of its year. */
export function evidenceLink(e: AssessmentEvidence, year: number) {
  if (e.sort === 'record') return { path: `/registers/${encodeURIComponent(e.kind)}/${encodeURIComponent(e.id)}` }
  if (e.sort === 'fact') return { path: '/plan/facts', query: { source: e.kind } }
  if (e.kind === 'enterprise') return { path: `/enterprises/${encodeURIComponent(e.id)}` }
  return { path: '/responsibility', query: { year: String(year), division: e.id, finding: 'orphan' } }
}

/** In order of ranks; who has none comes last, who is left out behind them. */
export const ranked = (units: readonly AssessmentUnitResult[]) =>
  [...units].sort((a, b) => Number(a.excluded !== '') - Number(b.excluded !== '') || (a.rank ?? Infinity) - (b.rank ?? Infinity) || a.region.localeCompare(b.region))

/** Where the form of an admonition of this unit opens. */
export function admonitionLink(a: Assessment, unit: AssessmentUnitResult, title: string, facts: string) {
  const reason = unit.vetoes.length ? 'veto' : 'rank'
  return { path: '/registers/admonition', query: { new: 'propose', 'of.region': unit.region, 'set.title': title, 'set.reason': reason, 'set.assessment': `${a.year} ${a.table.name} /responsibility/assessments/${a.id}`, 'set.facts': facts, 'set.called': unit.region_name } }
}
