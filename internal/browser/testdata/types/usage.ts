// How apps use the client, as the TypeScript compiler sees it. What must not compile is marked.
import { start, type Palier, type Updater } from '@palier-ota/client';

// The plugin, as far as its own types say something of it.
declare const CapacitorUpdater: {
  getDeviceId(): Promise<{ deviceId: string }>;
  current(): Promise<{ bundle: { id: string; version: string; downloaded: string; checksum: string }; native: string }>;
  getPluginVersion(): Promise<{ version: string }>;
  setCustomId(options: { customId: string }): Promise<void>;
};
const updater: Updater = CapacitorUpdater;

const palier: Palier = start({ app: 'com.example.shop' });
start({ app: 'com.example.shop', url: 'https://updates.example.com', updater, every: 5000, perMinute: 0 });
start({
  app: 'com.example.shop', deviceId: '00009a6b-eefe-490a-9c60-8e965132ae51', version: '1.4.0',
  device: { custom_id: 'qa-1', is_prod: false }, name: (path) => (path.startsWith('/health') ? null : path.toLowerCase()),
});

palier.track('checkout');
palier.feedback({ score: 1, message: 'slow' });
palier.feedback({ negative: false });
const told: Promise<boolean> = palier.consent('1.4.0', true);
told.then((known) => known && palier.flush());
palier.stop();

// @ts-expect-error app is required
start({});
// @ts-expect-error a field that the server would refuse, and with it the whole body
start({ app: 'com.example.shop', device: { model: 'Pixel' } });
// @ts-expect-error neither a score nor whether it is negative
palier.feedback({ message: 'hm' });
// @ts-expect-error an answer is needed
palier.consent('1.4.0');
// @ts-expect-error no plugin
start({ app: 'com.example.shop', updater: {} });
