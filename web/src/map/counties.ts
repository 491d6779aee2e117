// The county borders, fetched once per visit.
import { api } from '@/api/client'
import type { CountyCollection } from '@/api/types'
let held: Promise<CountyCollection> | null = null
export function counties(): Promise<CountyCollection> {
  held ??= api.get<CountyCollection>('/map/counties').catch((error: unknown) => {
    held = null
    throw error
  })
  return held
}
