// Not built here, where there is no Android SDK. A module for your app's settings.gradle.kts, beside runtime/c.
plugins { id("com.android.library") }

android {
    namespace = "org.patchwork"
    compileSdk = 35
    defaultConfig {
        minSdk = 23 // LiteRT's, which has these two kinds of processors
        ndk { abiFilters += listOf("arm64-v8a", "x86_64") }
        consumerProguardFiles("proguard-rules.pro")
    }
    externalNativeBuild { cmake { path = file("CMakeLists.txt") } }
}

dependencies { runtimeOnly("com.google.ai.edge.litert:litert:2.2.0") } // brings libLiteRt.so
