// Grants of a person: role at territory × sector × enterprise, in a form and in words. Pure. Start at [`grantOf`] and [`grantText`].
import type { Grant } from '@/api/types'

/** Roles that are held at one enterprise; the others at a territory and its sectors. */
export const AT_ENTERPRISE: readonly string[] = ['safety_manager', 'worker']

export interface GrantDraft {
  role: string
  region: string
  sector: string
  enterprise: string
}
export const draftOf = (g: Grant): GrantDraft => ({ role: g.role, region: g.region ?? '', sector: g.sector ?? '', enterprise: g.enterprise ?? '' })
/** Whether the form asks for an enterprise: by the role, or because the grant came with one. */
export const asksEnterprise = (g: GrantDraft) => AT_ENTERPRISE.includes(g.role) || g.enterprise !== ''
/** Whether the form asks for territory and sector; a grant that came with them keeps showing them. */
export const asksTerritory = (g: GrantDraft) => !AT_ENTERPRISE.includes(g.role) || g.region !== '' || g.sector !== ''
export const grantOf = (g: GrantDraft): Grant => ({ role: g.role, region: g.region || null, sector: g.sector || null, enterprise: g.enterprise || null })
/** The first grant whose role wants an enterprise and that bounds nothing at all: somebody of an enterprise would see the whole node. */
export const unbound = (grants: readonly GrantDraft[]) => grants.findIndex((g) => AT_ENTERPRISE.includes(g.role) && !g.enterprise && !g.region && !g.sector)

export interface GrantWords {
  role: (id: string) => string
  region: (code: string) => string
  sector: (id: string) => string
  enterprise: (id: string) => string
  whole: string
  named: (role: string, where: string) => string
}
/** What a grant says, widest first; the whole node only where nothing bounds it. */
export function grantText(g: Grant, words: GrantWords): string {
  const parts = [g.region ? words.region(g.region) : '', g.sector ? words.sector(g.sector) : '', g.enterprise ? words.enterprise(g.enterprise) : ''].filter(Boolean)
  return words.named(words.role(g.role), parts.join(' × ') || words.whole)
}
