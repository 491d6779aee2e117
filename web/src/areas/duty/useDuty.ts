// Who is on duty now, asked again every minute. Start at [`useDutyNow`].
import { api } from '@/api/client'
import type { DutyNow } from '@/api/types'
import { useLoad, usePoll } from '@/components/useLoad'

/** `near`: only whom to call for something in that division. */
export function useDutyNow(query: () => { region?: string; near?: string } = () => ({})) {
  const load = useLoad((signal) => api.get<DutyNow>('/duty/now', query(), signal))
  void load.run()
  usePoll(() => void load.run(), 60_000)
  return load
}
