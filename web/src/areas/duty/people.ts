// Divisions whose rota the signed-in person may make, and the people who may stand in it. Start at [`useRotaRegions`].
import { computed, shallowRef, watch } from 'vue'
import { api } from '@/api/client'
import { useRegions, useDivisions } from '@/areas/region/regions'
import type { Person } from '@/areas/register/types'
import { useSession } from '@/areas/session/session'

const MAKERS = ['administrator', 'supervisor']

export function useRotaRegions() {
  const session = useSession()
  const divisions = useDivisions()
  const first = useRegions()
  const bounds = computed(() => (session.session?.user.grants ?? []).filter((g) => MAKERS.includes(g.role) && !g.sector && !g.enterprise).map((g) => g.region ?? ''))
  const regions = computed(() => divisions.value.filter((r) => r.in_force && bounds.value.some((code) => r.code.startsWith(code))))
  /** Where most begin: the widest that is their own. */
  const own = computed(() => [...regions.value].sort((a, b) => a.code.length - b.code.length)[0]?.code ?? first.value[0]?.code ?? '')
  return { regions, own }
}

/** People who hold the division `region()`, without screens. */
export function usePeople(region: () => string, failed: (error: unknown) => void) {
  const people = shallowRef<Person[]>([])
  watch(
    region,
    async (code) => {
      people.value = []
      if (!code) return
      try {
        const found = (await api.get<{ people: Person[] }>('/people', { region: code })).people
        if (region() === code) people.value = found.filter((p) => p.roles.some((r) => r !== 'screen'))
      } catch (error) {
        failed(error)
      }
    },
    { immediate: true },
  )
  return people
}
