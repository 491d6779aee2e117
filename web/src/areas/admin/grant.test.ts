import { expect, it } from 'vitest'
import { asksEnterprise, asksTerritory, draftOf, grantOf, grantText, unbound } from './grant'

const words = { role: (x: string) => `r:${x}`, region: (x: string) => `d:${x}`, sector: (x: string) => `s:${x}`, enterprise: (x: string) => `e:${x}`, whole: 'all', named: (r: string, w: string) => `${r}(${w})` }
const grant = (role: string, region = '', sector = '', enterprise = '') => ({ role, region, sector, enterprise })

it('says_territory_sector_and_enterprise_and_the_whole_node_only_where_nothing_bounds_it', () => {
  const text = (...parts: Parameters<typeof grant>) => grantText(grantOf(grant(...parts)), words)
  expect(text('supervisor')).toBe('r:supervisor(all)')
  expect(text('supervisor', '530402', 'mine')).toBe('r:supervisor(d:530402 × s:mine)')
  expect(text('worker', '', '', '7')).toBe('r:worker(e:7)')
  expect(text('leader', '530402', 'gas', '7')).toBe('r:leader(d:530402 × s:gas × e:7)')
})
it('sends_back_what_came_and_nothing_else', () => {
  for (const g of [grant('worker', '', '', '7'), grant('leader', '530402'), grant('supervisor', '5304', 'mine', '9')]) expect(draftOf(grantOf(g))).toEqual(g)
  expect(grantOf(grant('leader'))).toEqual({ role: 'leader', region: null, sector: null, enterprise: null })
})
it('asks_an_enterprise_of_people_of_enterprises_and_keeps_showing_what_came', () => {
  expect([asksEnterprise(grant('worker')), asksTerritory(grant('worker'))]).toEqual([true, false])
  expect([asksEnterprise(grant('leader')), asksTerritory(grant('leader'))]).toEqual([false, true])
  expect([asksEnterprise(grant('leader', '', '', '7')), asksTerritory(grant('worker', '530402'))]).toEqual([true, true])
})
it('finds_somebody_of_an_enterprise_who_would_see_the_whole_node', () => {
  expect(unbound([grant('leader'), grant('worker')])).toBe(1)
  expect(unbound([grant('worker', '530402'), grant('safety_manager', '', '', '7')])).toBe(-1)
})
