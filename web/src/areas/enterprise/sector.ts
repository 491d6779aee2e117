// Sectors that the product has words for; an enterprise may be of another, which is shown as it stands. Start at [`useSectors`].
import { useI18n } from 'vue-i18n'
import zhCN from '@/locales/zh-CN'

export const SECTORS: readonly string[] = Object.keys(zhCN.sector)

export function useSectors() {
  const { t, te } = useI18n()
  return (id: string) => (te(`sector.${id}`, 'zh-CN') ? t(`sector.${id}`) : id)
}
