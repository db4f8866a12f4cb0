// Compiled here against stubs of CameraX, not run: a camera's frames through Patchwork. Copy it into your app.
import androidx.camera.core.ImageAnalysis
import androidx.camera.core.ImageProxy
import org.patchwork.Patchwork

/**
 * analysis.setAnalyzer(executor, CameraxAnalyzer(model.stream()) { answer -> ... }), with YUV_420_888, the default.
 * To end: analysis.clearAnalyzer(), then stream.close() and model.close() on the same executor of one thread.
 */
class CameraxAnalyzer(
    private val stream: Patchwork.Stream,
    private val onAnswer: (Patchwork.Answer) -> Unit, // on the executor; masks last until the next frame
) : ImageAnalysis.Analyzer {
    private var shape = Triple(0, 0, 0)

    override fun analyze(image: ImageProxy) = image.use {
        val (y, u, v) = image.planes
        val turn = image.imageInfo.rotationDegrees
        val now = Triple(image.height, image.width, turn)
        if (shape != now) stream.reset().also { shape = now } // the phone was turned: another video
        val frame = Patchwork.Frame.yuv420(
            y.buffer, u.buffer, v.buffer, image.height, image.width,
            y.rowStride, u.rowStride, u.pixelStride, turn, true)
        onAnswer(stream.push(frame))
    }
}
