/** Types of Palier's client for app metrics. */

/** How to start. */
export interface Options {
  /** The app's id, as the updater plugin sends it: `com.example.shop`. */
  app: string;
  /**
   * Address of the Palier server or edge that takes the metrics: `https://updates.example.com`. Without it, the one that
   * the module was loaded from as `/palier.js`; needed wherever the module is bundled.
   */
  url?: string;
  /**
   * The plugin `CapacitorUpdater`, which knows device and bundle. Without it, the one that Capacitor has registered.
   */
  updater?: Updater;
  /** The device's id, a UUID, instead of the plugin's. It must be the one of the device's update checks. */
  deviceId?: string;
  /** The version of the running bundle, instead of the plugin's. */
  version?: string;
  /** What else is known of the device; it must be as in its update checks where segments ask for it. */
  device?: Device;
  /** Milliseconds for which events are gathered into one request; 10000 if not given. */
  every?: number;
  /** At most so many timings of pages and calls a minute; 60 if not given, and 0 for none. */
  perMinute?: number;
  /**
   * Names pages and calls by their paths (which have no query; that of a page may have the route behind a `#`). An empty
   * name leaves them out. Without it a path is its own name, with `:id` for what looks like one.
   */
  name?: (path: string) => string | null | undefined;
}

/** What is needed of the plugin `CapacitorUpdater`. */
export interface Updater {
  getDeviceId(): Promise<{ deviceId: string }>;
  current(): Promise<{ bundle: { version: string }; native: string }>;
  getPluginVersion?(): Promise<{ version: string }>;
}

/** Fields of the body of `POST /telemetry`, where the app knows better than the plugin. */
export interface Device {
  platform?: string;
  /** The native version. */
  version_build?: string;
  /** The version of the operating system. */
  version_os?: string;
  plugin_version?: string;
  install_source?: string;
  custom_id?: string;
  /** False for development builds, whose events are kept but never counted. */
  is_prod?: boolean;
  /** True on emulators, whose events are kept but never counted. */
  is_emulator?: boolean;
}

/** What users say: a score or whether it is negative, and words. */
export type Feedback = ({ score: number; negative?: boolean } | { score?: undefined; negative: boolean }) & {
  /** At most 1000 characters are sent. */
  message?: string;
};

/** A client that measures. None of its methods throws, and none of their promises rejects. */
export interface Palier {
  /** Says that a feature was used. It is sent once per session. */
  track(feature: string): void;
  /** Says what the user thinks: a score from 1 (worst) to 5, or whether it is negative. Resolves to whether the server has it. */
  feedback(feedback: Feedback): Promise<boolean>;
  /** Says whether the user agreed to a bundle that asks first. Resolves to whether the server has it. */
  consent(bundle: string, granted: boolean): Promise<boolean>;
  /** Sends now what waits. Resolves to whether the server has everything. */
  flush(): Promise<boolean>;
  /** Stops measuring and sending, and takes every hook back. What waits is sent after the next start. */
  stop(): void;
}

/**
 * Starts to measure. A client that runs already is stopped. It never throws: what is wrong with the options is said on the
 * console, and the client that is returned does nothing.
 */
export function start(options: Options): Palier;
